//! The annotation that prevents an autoscaler from scaling until a given time.

use dask_operator_plugin::prelude::*;

use crate::decision::Seconds;

/// Parses the annotation's value, rounded up to a whole second. `None` if it is not a time.
pub(crate) fn read(value: &Value) -> Option<Seconds> {
    let seconds: f64 = value.as_str()?.trim().parse().ok()?;
    seconds
        .is_finite()
        .then(|| seconds.ceil().clamp(0.0, MAX_TIME) as Seconds)
}

/// 9999-12-31T23:59:59Z, the latest time that can be formatted.
const MAX_TIME: f64 = 253_402_300_799.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_times() {
        let cases = [
            ("1767225600", Some(1_767_225_600)),
            ("1767225600.25", Some(1_767_225_601)),
            (" 1.7672256e9 ", Some(1_767_225_600)),
            ("-5", Some(0)),
            ("1e300", Some(253_402_300_799)),
            ("NaN", None),
            ("inf", None),
            ("", None),
            ("2026-01-01T00:00:00Z", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read(&json!(text)), expected, "{text}");
        }
        assert_eq!(read(&Value::Null), None);
    }
}
