//! Syntax of object names: labels and subdomains of the DNS, as RFC 1123 defines them.

/// Maximum length of a label, in characters.
pub const LABEL_MAX: usize = 63;

/// Maximum length of a subdomain, in characters.
pub const SUBDOMAIN_MAX: usize = 253;

/// Returns whether `text` is a label of at most [`LABEL_MAX`] characters: lower-case letters, digits and `-`, with a letter
/// or digit at both ends. Namespaces and Services have such names.
#[must_use]
pub fn is_label(text: &str) -> bool {
    text.len() <= LABEL_MAX && is_part(text)
}

/// Returns whether `text` is a subdomain of at most [`SUBDOMAIN_MAX`] characters: parts that are separated by dots, each a
/// label of any length. Most objects have such names.
#[must_use]
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= SUBDOMAIN_MAX && text.split('.').all(is_part)
}

/// Returns whether a label can contain this character.
#[must_use]
pub fn is_label_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// Returns whether `text` is a label of any length.
fn is_part(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_label_char) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_labels() {
        for good in ["a", "0-a", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
    }

    #[test]
    fn checks_subdomains() {
        for good in ["a.b-c.0", &"a".repeat(253)] {
            assert!(is_subdomain(good), "{good}");
        }
        for bad in ["", "a..b", "a.-b", ".a", "a.", "a_b", "A.b", &"a".repeat(254)] {
            assert!(!is_subdomain(bad), "{bad}");
        }
    }
}
