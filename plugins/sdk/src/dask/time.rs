//! Times as Kubernetes writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::contract::Timestamp;

/// The longest duration in seconds that a spec can say: ten years. A longer one counts as this.
pub const LONGEST: i64 = 10 * 365 * 24 * 60 * 60;

/// Reads a number of seconds, not longer than [`LONGEST`], as milliseconds; none where there is no such number.
pub fn seconds(value: &Value) -> Option<i64> {
    let seconds = i64::try_from(value.as_u64()?).unwrap_or(LONGEST);
    Some(seconds.min(LONGEST) * 1000)
}

/// Reads `2026-01-31T12:00:00Z`, with or without a fraction.
pub fn parse(text: &str) -> Option<Timestamp> {
    let time = humantime::parse_rfc3339(text).ok()?;
    Timestamp::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// The last time that can be written: RFC 3339 has four digits for the year.
const LATEST: Timestamp = 253_402_300_799_999;

/// Writes `2026-01-31T12:00:00Z`; fractions are cut off. A time before 1970 or after 9999 is written as the nearest that can be.
pub fn format(time: Timestamp) -> String {
    humantime::format_rfc3339_seconds(written(time)).to_string()
}

/// Writes `2026-01-31T12:00:00.123Z`: no millisecond is lost. A time before 1970 or after 9999 is written as the nearest that can be.
pub fn format_exactly(time: Timestamp) -> String {
    humantime::format_rfc3339_millis(written(time)).to_string()
}

fn written(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time.clamp(0, LATEST).unsigned_abs())
}

/// Writes a span for a person: `90s` is `1m 30s`.
pub fn span(milliseconds: i64) -> String {
    let seconds = u64::try_from(milliseconds).unwrap_or(0) / 1000;
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_and_back() {
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
    fn durations_have_a_limit() {
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
    fn times_that_can_not_be_written_are_the_nearest_that_can() {
        assert_eq!(format(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(format_exactly(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(format(-1), "1970-01-01T00:00:00Z");
    }
}
