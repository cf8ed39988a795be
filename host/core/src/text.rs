//! Texts from elsewhere, made fit for a log, a status or a terminal.

/// The end of a text that was cut.
const ELLIPSIS: char = '…';

/// Returns `text` as one line of at most `most` bytes, the `…` at the end of one that was cut among them.
///
/// Control characters, which could move a terminal's cursor or begin another line of a log, become spaces, and so do
/// those that turn the direction of writing.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
    let is_cut = text.len() > most;
    let end = if is_cut {
        text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len_utf8()))
    } else {
        text.len()
    };
    text[..end]
        .chars()
        .map(|c| if is_shown(c) { c } else { ' ' })
        .chain(is_cut.then_some(ELLIPSIS))
        .collect()
}

/// Cleans and cuts a text in place, as [`line()`]; one that is fit already is left alone.
pub fn make_line(text: &mut String, most: usize) {
    if text.len() > most || !text.chars().all(is_shown) {
        *text = line(text, most);
    }
}

/// Returns what an error goes back to: "connection refused" and not "client error".
#[must_use]
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn is_shown(c: char) -> bool {
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
    fn lines_are_cut_and_cleaned(#[case] text: &str, #[case] most: usize, #[case] expected: &str) {
        assert_eq!(line(text, most), expected);
        let mut changed = text.to_owned();
        make_line(&mut changed, most);
        assert_eq!(changed, expected);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("client error")]
    struct Wrapped(#[source] std::io::Error);

    #[test]
    fn an_error_goes_back_to_its_source() {
        let refused = std::io::Error::other("connection refused");
        assert_eq!(innermost(&refused), "connection refused");
        assert_eq!(innermost(&Wrapped(refused)), "connection refused");
    }
}
