//! Quantities of Kubernetes, such as `500m`, `4Gi` and `1e3`. Pure.

use serde_json::Value;

/// Suffixes of multiples, with their factor.
const SUFFIXES: [(&str, f64); 11] = [
    ("", 1.0),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("Ki", 1024.0),
    ("Mi", 1024.0 * 1024.0),
    ("Gi", 1024.0 * 1024.0 * 1024.0),
    ("Ti", 1024.0 * 1024.0 * 1024.0 * 1024.0),
    ("P", 1e15),
    ("Pi", 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0),
];

/// Suffixes of fractions, with their divisor.
const PARTS: [(&str, f64); 3] = [("n", 1e9), ("u", 1e6), ("m", 1e3)];

/// Returns the value of a quantity, exact enough for comparisons. Returns `None` if it is not a quantity.
pub fn amount(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
            let (number, suffix) = text.split_at(end);
            if number.is_empty() || !number.bytes().all(|c| c.is_ascii_digit() || b".+-".contains(&c)) {
                return None;
            }
            let number: f64 = number.parse().ok()?;
            // Division rounds a thousandth to the same value as the decimal notation: `700m` is `0.7`.
            let part = PARTS.iter().find(|(name, _)| *name == suffix);
            if let Some((_, parts)) = part {
                return Some(number / parts);
            }
            let scale = SUFFIXES
                .iter()
                .find(|(name, _)| *name == suffix)
                .map(|(_, scale)| *scale);
            scale.or_else(|| exponent(suffix)).map(|scale| number * scale)
        }
        _ => None,
    }
}

/// Returns the factor of an exponent, such as `e3` or `E-6`. `E` and `Ei` are suffixes.
fn exponent(suffix: &str) -> Option<f64> {
    match suffix {
        "E" => Some(1e18),
        "Ei" => Some(1024_f64.powi(6)),
        _ => suffix
            .strip_prefix(['e', 'E'])?
            .parse()
            .ok()
            .map(|power: i32| 10_f64.powi(power)),
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
    fn parses_quantities() {
        let cases = [
            (json!(2), Some(2.0)),
            (json!("2"), Some(2.0)),
            (json!("500m"), Some(0.5)),
            (json!("700m"), Some(0.7)),
            (json!("1150m"), Some(1.15)),
            (json!("2550000u"), Some(2.55)),
            (json!("1.5Gi"), Some(1.5 * 1024.0 * 1024.0 * 1024.0)),
            (json!("1e3"), Some(1000.0)),
            (json!("2E"), Some(2e18)),
            (json!("4GB"), None),
            (json!("4 Gi"), None),
            (json!("lots"), None),
            (json!(""), None),
            (json!(null), None),
        ];
        for (value, expected) in cases {
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
