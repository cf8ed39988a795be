//! Syntax of label and annotation keys and of label values.

use crate::rfc1123::is_subdomain;

/// Maximum length of a label value, and of the name in a key, in characters.
pub const MAX: usize = 63;

/// Returns whether a text is a valid label value.
#[must_use]
pub fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// Returns whether a text is a valid annotation key. As in the API server, upper-case letters are valid in the prefix.
#[must_use]
pub fn is_annotation_key(text: &str) -> bool {
    is_key(&text.to_lowercase())
}

/// Returns whether a text is a valid label key: a name, optionally with a DNS name and a slash before it. Kubernetes calls
/// this a qualified name.
#[must_use]
pub fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
        None => is_name(text),
    }
}

/// Returns whether a text is a valid name in a key.
fn is_name(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    let is_end = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MAX && bytes.iter().copied().all(inner) && is_end(bytes.first()) && is_end(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_label_values() {
        for good in ["", "a", "A-1_b.c", &"x".repeat(63)] {
            assert!(is_value(good), "{good}");
        }
        for bad in [
            "jane.roe@corp.example",
            "feature/tiles",
            "a:1",
            "-a",
            "a.",
            "ä",
            "a b",
            &"x".repeat(64),
        ] {
            assert!(!is_value(bad), "{bad}");
        }
    }

    #[test]
    fn checks_label_and_annotation_keys() {
        for good in ["team", "app.kubernetes.io/name", "x-1.y/A_b"] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", "cost centre", "/a", "a/", "A/b", "a/b/c", "a_b/c", "a..b/c"] {
            assert!(!is_key(bad), "{bad}");
        }
        for (text, expected) in [
            ("Corp.Example/Owner", true),
            ("team", true),
            ("A b", false),
            ("A_b/c", false),
        ] {
            assert_eq!(is_annotation_key(text), expected, "{text}");
        }
    }
}
