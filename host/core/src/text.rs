//! Sanitising of untrusted text for logs, statuses and terminals.

/// The last character of a text that was cut.
const ELLIPSIS: char = '…';

/// Returns `text` as one line of at most `max` bytes, including the `…` at the end of a text that was cut.
///
/// Control characters, which could move the cursor of a terminal or start another line of a log, become spaces. So do
/// line separators and characters that change the direction of writing.
#[must_use]
pub fn line(text: &str, max: usize) -> String {
    let is_cut = text.len() > max;
    let end = if is_cut {
        text.floor_char_boundary(max.saturating_sub(ELLIPSIS.len_utf8()))
    } else {
        text.len()
    };
    text[..end]
        .chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .chain(is_cut.then_some(ELLIPSIS))
        .collect()
}

/// Sanitises and cuts a text in place, as [`line()`] does. A text that needs no change is left as it is.
pub fn make_line(text: &mut String, max: usize) {
    if text.len() > max || !text.chars().all(is_printable) {
        *text = line(text, max);
    }
}

/// Returns the message of the root cause of an error, such as "connection refused" instead of "client error".
#[must_use]
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Returns whether a character is neither a control character, a line separator nor a change of the writing direction.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("fine", 10, "fine")]
    #[case("a\nb\x1b[31m", 10, "a b [31m")]
    #[case("a\u{2028}b\u{202e}c", 10, "a b c")]
    #[case("too long", 6, "too…")]
    #[case("äöü", 6, "äöü")]
    #[case("äöüß", 6, "ä…")]
    #[case("", 0, "")]
    fn lines_are_cut_and_sanitised(#[case] text: &str, #[case] max: usize, #[case] expected: &str) {
        assert_eq!(line(text, max), expected);
        let mut changed = text.to_owned();
        make_line(&mut changed, max);
        assert_eq!(changed, expected);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("client error")]
    struct Wrapped(#[source] std::io::Error);

    #[test]
    fn innermost_returns_the_root_cause() {
        let refused = std::io::Error::other("connection refused");
        assert_eq!(innermost(&refused), "connection refused");
        assert_eq!(innermost(&Wrapped(refused)), "connection refused");
    }
}
