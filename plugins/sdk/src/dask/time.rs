//! Timestamps and durations in the formats of Kubernetes. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::contract::Timestamp;

/// Longest duration in a spec, in seconds: ten years. Longer ones are reduced to it.
pub const LONGEST: i64 = 10 * 365 * 24 * 60 * 60;

/// Reads a number of seconds, at most [`LONGEST`], as milliseconds. Returns `None` if the value is not a whole number of 0 or
/// more.
pub fn seconds(value: &Value) -> Option<i64> {
    let seconds = i64::try_from(value.as_u64()?).unwrap_or(LONGEST);
    Some(seconds.min(LONGEST) * 1000)
}

/// Parses a timestamp, such as `2026-01-31T12:00:00Z`, with or without a fraction. Returns `None` if it is invalid.
pub fn parse(text: &str) -> Option<Timestamp> {
    let time = humantime::parse_rfc3339(text).ok()?;
    Timestamp::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Last time that can be formatted: RFC 3339 has four digits for the year.
const LATEST: Timestamp = 253_402_300_799_999;

/// Formats a timestamp as `2026-01-31T12:00:00Z`; fractions are cut off. A time before 1970 or after 9999 is replaced by
/// the nearest valid one.
pub fn format(time: Timestamp) -> String {
    humantime::format_rfc3339_seconds(clamped(time)).to_string()
}

/// Formats a timestamp with milliseconds as `2026-01-31T12:00:00.123Z`. A time before 1970 or after 9999 is replaced by the
/// nearest valid one.
pub fn format_exactly(time: Timestamp) -> String {
    humantime::format_rfc3339_millis(clamped(time)).to_string()
}

fn clamped(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time.clamp(0, LATEST).unsigned_abs())
}

/// Formats a duration for users: 90,000 milliseconds as `1m 30s`. Fractions of a second are cut off.
pub fn span(milliseconds: i64) -> String {
    let seconds = u64::try_from(milliseconds).unwrap_or(0) / 1000;
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn timestamps_survive_a_round_trip() {
        let text = "2026-01-31T12:00:01Z";
        let time = parse(text).expect("time");
        assert_eq!(time, 1_769_860_801_000);
        assert_eq!(format(time), text);
        assert_eq!(parse("2026-01-31T12:00:01.500000Z"), Some(time + 500));
        assert_eq!(parse(&format_exactly(time + 7)), Some(time + 7));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(span(90_500), "1m 30s");
    }

    #[test]
    fn durations_have_a_maximum() {
        let of = |value: Value| seconds(&value);
        assert_eq!(of(json!(0)), Some(0));
        assert_eq!(of(json!(60)), Some(60_000));
        for huge in [json!(999_999_999_999_i64), json!(i64::MAX), json!(u64::MAX)] {
            assert_eq!(of(huge), Some(315_360_000_000));
        }
        for none in [json!(-1), json!(1.5), json!("60"), Value::Null] {
            assert_eq!(of(none), None);
        }
    }

    #[test]
    fn times_out_of_range_are_replaced_by_the_nearest() {
        assert_eq!(format(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(format_exactly(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(format(-1), "1970-01-01T00:00:00Z");
    }
}
