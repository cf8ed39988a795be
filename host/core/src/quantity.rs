//! Parser for Kubernetes quantities such as `1`, `1000m`, `1.5Gi` and `1e3`.

/// Returns a quantity in units of 10⁻⁹, rounded up, so that different spellings of one amount are equal. Returns `None` if
/// `text` is not a quantity, or if the value overflows and is therefore larger than the API server accepts.
#[must_use]
pub fn parse(text: &str) -> Option<i128> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || whole.len() + fraction.len() == 0 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = Scale::parse(suffix)?;
    let ten = scale
        .ten
        .checked_add(9)?
        .checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let value = digits.checked_mul(1_i128.checked_shl(scale.two)?)?;
    let power = 10_i128.checked_pow(ten.unsigned_abs())?;
    let value = if ten >= 0 {
        value.checked_mul(power)?
    } else {
        value / power + i128::from(value % power != 0)
    };
    Some(if negative { -value } else { value })
}

/// A factor: 2 to the power of `two` times 10 to the power of `ten`.
struct Scale {
    two: u32,
    ten: i32,
}

impl Scale {
    /// Returns the factor for a suffix such as `Mi` or `e3`, or `None` if the suffix is invalid.
    fn parse(suffix: &str) -> Option<Self> {
        let (two, ten) = match suffix {
            "n" => (0, -9),
            "u" => (0, -6),
            "m" => (0, -3),
            "" => (0, 0),
            "k" => (0, 3),
            "M" => (0, 6),
            "G" => (0, 9),
            "T" => (0, 12),
            "P" => (0, 15),
            "E" => (0, 18),
            "Ki" => (10, 0),
            "Mi" => (20, 0),
            "Gi" => (30, 0),
            "Ti" => (40, 0),
            "Pi" => (50, 0),
            "Ei" => (60, 0),
            exponent => (0, exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
        };
        Some(Self { two, ten })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1", "1000m")]
    #[case("1.5Gi", "1536Mi")]
    #[case("0.5", "500m")]
    #[case("1e3", "1k")]
    #[case("1E3", "1k")]
    #[case("1E", "1000P")]
    #[case("+2", "2.0")]
    #[case("-1", "-1000m")]
    #[case("1e-3", "1m")]
    #[case("100Ei", "102400Pi")]
    fn equal_amounts_are_equal(#[case] one: &str, #[case] two: &str) {
        assert_eq!(parse(one), parse(two));
        assert!(parse(one).is_some());
    }

    #[rstest]
    #[case("1", "2")]
    #[case("1k", "1Ki")]
    fn different_amounts_are_different(#[case] one: &str, #[case] two: &str) {
        assert_ne!(parse(one), parse(two));
    }

    #[rstest]
    #[case("")]
    #[case("-")]
    #[case(".")]
    #[case("1.2.3")]
    #[case("a")]
    #[case("1 Gi")]
    #[case("1Xi")]
    #[case("1e99999")]
    fn rejects_other_texts(#[case] text: &str) {
        assert_eq!(parse(text), None);
    }
}
