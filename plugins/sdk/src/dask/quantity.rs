//! Quantities of Kubernetes in manifests, such as `500m`, `4Gi` and `1e3`, and in messages.

pub use dask_operator_kubernetes::quantity::{ParseError, Quantity};
use serde_json::Value;

/// Returns the amount of a quantity in a manifest, which is a text or a number. Returns `None` if it is not a quantity. As in
/// the API server, an amount that is too large counts as the largest one.
pub fn amount(value: &Value) -> Option<Quantity> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    match text.parse() {
        Ok(quantity) => Some(quantity),
        Err(ParseError::OutOfRange) if text.starts_with('-') => Some(Quantity::MIN),
        Err(ParseError::OutOfRange) => Some(Quantity::MAX),
        Err(ParseError::Invalid) => None,
    }
}

/// Formats a number of bytes for users, with two or three digits: `7 bytes`, `1.2 GB`, `350 MB`.
pub fn bytes(number: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut amount, mut unit) = (number as f64, 0);
    // An amount that would be rounded to four digits gets the next unit.
    while amount >= 999.5 && unit + 1 < units.len() {
        (amount, unit) = (amount / 1000.0, unit + 1);
    }
    match unit > 0 && amount < 9.95 {
        true => format!("{amount:.1} {}", units[unit]),
        false => format!("{amount:.0} {}", units[unit]),
    }
}

/// Returns the decimal and the binary quantity that an invalid text probably means: `4G` and `4Gi` for `4GB`. Returns `None`
/// if that is unclear.
pub fn meant(text: &str) -> Option<(String, String)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .filter(|end| *end > 0)?;
    let (number, suffix) = text.split_at(end);
    let mut letters = suffix.trim().chars();
    let first = letters.next()?.to_ascii_uppercase();
    let rest: String = letters.collect::<String>().to_ascii_lowercase();
    if !matches!(first, 'K' | 'M' | 'G' | 'T') || !matches!(rest.as_str(), "" | "b" | "i" | "ib") {
        return None;
    }
    let decimal = if first == 'K' { 'k' } else { first };
    Some((format!("{number}{decimal}"), format!("{number}{first}i")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_bytes() {
        let written = [
            0,
            7,
            999,
            1000,
            9949,
            9950,
            999_499,
            999_500,
            1_234_567_890,
            u64::MAX,
        ]
        .map(bytes);
        assert_eq!(
            written,
            [
                "0 bytes",
                "7 bytes",
                "999 bytes",
                "1.0 kB",
                "9.9 kB",
                "10 kB",
                "999 kB",
                "1.0 MB",
                "1.2 GB",
                "18 EB"
            ]
        );
    }

    #[test]
    fn reads_texts_and_numbers() {
        let quantity = |text: &str| text.parse().ok();
        for (value, expected) in [
            (json!(2), quantity("2")),
            (json!("2"), quantity("2")),
            (json!(0.7), quantity("700m")),
            (json!(-1), quantity("-1")),
            (json!(1e18), quantity("1E")),
            (json!("500m"), quantity("0.5")),
            (json!("1.5Gi"), quantity("1536Mi")),
            (json!("2E"), quantity("2e18")),
            (json!(1e300), Some(Quantity::MAX)),
            (json!("1e99999"), Some(Quantity::MAX)),
            (json!("-1e99999"), Some(Quantity::MIN)),
            (json!("4GB"), None),
            (json!("4 Gi"), None),
            (json!("lots"), None),
            (json!(""), None),
            (json!(null), None),
        ] {
            assert_eq!(amount(&value), expected, "{value}");
        }
    }

    #[test]
    fn guesses_the_meaning_of_invalid_text() {
        for text in ["4GB", "4 GB", "4gib", "4gi", "4 g", "4 Gi"] {
            assert_eq!(meant(text), Some(("4G".into(), "4Gi".into())), "{text}");
        }
        assert_eq!(meant("8KB"), Some(("8k".into(), "8Ki".into())));
        for text in ["lots", "4 cores", "", "GB"] {
            assert_eq!(meant(text), None, "{text}");
        }
    }
}
