//! Syntax of names, condition types and reasons that the API server accepts.

/// Returns whether `text` is a DNS-1123 label of at most 63 characters.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Returns whether `text` is a DNS-1123 subdomain of at most 253 characters: parts that are separated by dots, each a label
/// of any length.
#[must_use]
pub fn is_subdomain(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

/// Returns whether `text` is a valid condition type: a name of at most 63 characters, with an optional DNS prefix and slash.
#[must_use]
pub fn is_condition_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        edge(name.bytes().next()) && edge(name.bytes().last()) && name.bytes().all(inner)
    };
    match text.split_once('/') {
        Some((prefix, rest)) => is_subdomain(prefix) && rest.len() <= 63 && is_name(rest),
        None => text.len() <= 63 && is_name(text),
    }
}

/// Returns whether `text` is a valid reason of a condition or an event: a word that starts with a letter, of at most 128
/// characters, the limit of events.
#[must_use]
pub fn is_reason(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b',' | b':');
    let starts = text.bytes().next().is_some_and(|c| c.is_ascii_alphabetic());
    let ends = text
        .bytes()
        .last()
        .is_some_and(|c| c.is_ascii_alphanumeric() || c == b'_');
    text.len() <= 128 && starts && ends && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a", true)]
    #[case("0-a", true)]
    #[case("", false)]
    #[case("-a", false)]
    #[case("a-", false)]
    #[case("A", false)]
    #[case("a.b", false)]
    #[case(&"a".repeat(64), false)]
    fn checks_labels(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_label(text), expected);
    }

    #[rstest]
    #[case("a.b-c.0", true)]
    #[case(&"a".repeat(253), true)]
    #[case(&"a".repeat(254), false)]
    #[case("a..b", false)]
    #[case("a.-b", false)]
    #[case("a_b", false)]
    fn checks_subdomains(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_subdomain(text), expected);
    }

    #[rstest]
    #[case("Ready", true)]
    #[case("dask.org/Ready", true)]
    #[case("not ready", false)]
    #[case("", false)]
    fn checks_condition_types(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_condition_type(text), expected);
    }

    #[rstest]
    #[case("WorkersMayHoldData", true)]
    #[case("1st", false)]
    #[case("two words", false)]
    #[case("", false)]
    fn checks_reasons(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_reason(text), expected);
    }
}
