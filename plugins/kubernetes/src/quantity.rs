//! Quantities of Kubernetes, such as `1`, `1000m`, `1.5Gi` and `1e3`.

use std::fmt;
use std::str::FromStr;

/// Number of the smallest units, 10⁻⁹, in 1.
const UNITS: i128 = 1_000_000_000;

/// An amount, exact to 10⁻⁹ as in the API server. Different spellings of one amount are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i128);

/// The reason why a text has no value as a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// The text is not a quantity.
    Invalid,
    /// The text is a quantity, and its amount is larger than any that the API server stores.
    OutOfRange,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "is no quantity: write one like `2`, `500m` or `4Gi`",
            Self::OutOfRange => "is too large: write a smaller quantity",
        })
    }
}

impl std::error::Error for ParseError {}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// The smallest amount, a negative whole number.
    pub const MIN: Self = Self(-Self::MAX.0);

    /// The largest amount, a whole number.
    pub const MAX: Self = Self(i128::MAX / UNITS * UNITS);

    /// Returns the quantity of a whole number.
    #[must_use]
    pub const fn from_whole(number: i64) -> Self {
        Self(number as i128 * UNITS)
    }

    /// Returns the amount in units of 10⁻⁹.
    #[must_use]
    pub const fn units(self) -> i128 {
        self.0
    }

    /// Returns the amount without its fraction.
    #[must_use]
    pub const fn whole(self) -> i128 {
        self.0 / UNITS
    }

    /// Returns whether the amount has no fraction.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.0 % UNITS == 0
    }

    /// Returns the amount as a floating-point number, for messages.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / UNITS as f64
    }
}

/// Parses a quantity as the API server does: a fraction of 10⁻⁹ is rounded away from zero. Of more than twenty digits, the last
/// ones may be rounded, too.
impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (is_negative, text) = match text.as_bytes().first().ok_or(ParseError::Invalid)? {
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
            return Err(ParseError::Invalid);
        }
        let scale = Scale::parse(suffix).ok_or(ParseError::Invalid)?;
        let amount = amount(whole, fraction, &scale).ok_or(ParseError::OutOfRange)?;
        Ok(Self(if is_negative { -amount } else { amount }))
    }
}

/// Returns the number of units in `whole.fraction` times `scale`. `None` if it is too large.
fn amount(whole: &str, fraction: &str, scale: &Scale) -> Option<i128> {
    let push = |digits: i128, digit: u8| digits.checked_mul(10)?.checked_add(i128::from(digit - b'0'));
    let mut digits = whole.bytes().try_fold(0, push)?;
    let mut ten = scale.ten.saturating_add(9);
    let mut is_cut = false;
    for digit in fraction.bytes() {
        match push(digits, digit) {
            Some(longer) => (digits, ten) = (longer, ten.saturating_sub(1)),
            None => is_cut |= digit != b'0',
        }
    }
    let factor = 1_i128.checked_shl(scale.two)?;
    while digits.checked_mul(factor).is_none() {
        if ten >= 0 {
            return None;
        }
        is_cut |= digits % 10 != 0;
        (digits, ten) = (digits / 10, ten + 1);
    }
    let value = digits * factor;
    if value == 0 {
        return Some(0);
    }
    let power = 10_i128.checked_pow(ten.unsigned_abs());
    if ten >= 0 {
        return value.checked_mul(power?);
    }
    // What is smaller than a unit is rounded up to one.
    Some(power.map_or(1, |power| {
        value / power + i128::from(is_cut || value % power != 0)
    }))
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
    use super::*;

    fn parse(text: &str) -> Result<Quantity, ParseError> {
        text.parse()
    }

    #[test]
    fn equal_amounts_are_equal() {
        for (one, two) in [
            ("1", "1000m"),
            ("1.5Gi", "1536Mi"),
            ("0.5", "500m"),
            ("0.7", "700m"),
            ("1.15", "1150m"),
            ("2.55", "2550000u"),
            ("1e3", "1k"),
            ("1E3", "1k"),
            ("1e+3", "1k"),
            ("1E", "1000P"),
            ("+2", "2.0"),
            (".5", "500m"),
            ("1.", "1"),
            ("-1", "-1000m"),
            ("-0", "0"),
            ("1e-3", "1m"),
            ("100Ei", "102400Pi"),
            ("0e99999", "0"),
            // Smaller amounts are rounded up.
            ("0.0000000001", "1n"),
            ("1e-99", "1n"),
            ("-0.0000000001", "-1n"),
            ("1.00000000000000000000000000000000000000000000", "1"),
            ("0.33333333333333333333333333333333333333333333", "333333334n"),
        ] {
            assert!(parse(one).is_ok(), "{one}");
            assert_eq!(parse(one), parse(two), "{one} and {two}");
        }
    }

    #[test]
    fn amounts_are_ordered() {
        for (less, more) in [
            ("1", "2"),
            ("1k", "1Ki"),
            ("-1", "0"),
            ("9007199254740992", "9007199254740993"),
            ("0.1", "0.100000001"),
            ("0.33333333333333333333333333333333333Ei", "0.34Ei"),
            ("0.32Ei", "0.33333333333333333333333333333333333Ei"),
        ] {
            let (less, more) = (parse(less).expect(less), parse(more).expect(more));
            assert!(less < more, "{less:?} and {more:?}");
        }
    }

    #[test]
    fn rejects_other_texts() {
        for text in [
            "", "-", "+", ".", "m", "1.2.3", "++1", "a", "1 Gi", "1Xi", "4GB", "1e", "1e+", "1é", "2-",
            "lots",
        ] {
            assert_eq!(parse(text), Err(ParseError::Invalid), "{text}");
        }
        for text in [
            "1e99999",
            "-1e30",
            "1000000000000000000000Ei",
            "1000000000000000000000000000000000000000000",
        ] {
            assert_eq!(parse(text), Err(ParseError::OutOfRange), "{text}");
        }
    }

    #[test]
    fn splits_off_the_fraction() {
        for (text, whole, is_whole) in [
            ("64Mi", 67_108_864, true),
            ("1500m", 1, false),
            ("-1500m", -1, false),
        ] {
            let quantity = parse(text).expect(text);
            assert_eq!(
                (quantity.whole(), quantity.is_whole()),
                (whole, is_whole),
                "{text}"
            );
        }
        assert_eq!(parse("2"), Ok(Quantity::from_whole(2)));
    }
}
