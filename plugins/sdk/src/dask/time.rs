//! Times as Kubernetes writes them.

use std::time::{Duration, UNIX_EPOCH};

use crate::contract::Timestamp;

/// Reads `2026-01-31T12:00:00Z`, with or without a fraction.
pub fn parse(text: &str) -> Option<Timestamp> {
    let time = humantime::parse_rfc3339(text).ok()?;
    Timestamp::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Writes `2026-01-31T12:00:00Z`; fractions are cut off.
pub fn format(time: Timestamp) -> String {
    let since_epoch = Duration::from_millis(u64::try_from(time).unwrap_or(0));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_epoch).to_string()
}

/// Writes `2026-01-31T12:00:00.123Z`: no millisecond is lost.
pub fn format_exactly(time: Timestamp) -> String {
    let since_epoch = Duration::from_millis(u64::try_from(time).unwrap_or(0));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch).to_string()
}

/// Writes a span for a person: `90s` is `1m 30s`.
pub fn span(milliseconds: i64) -> String {
    let seconds = u64::try_from(milliseconds).unwrap_or(0) / 1000;
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
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
}
