//! Texts of the other side, for people.

/// The most bytes of such a text that an error has.
pub(crate) const LIMIT: usize = 500;

/// One line of at most [`LIMIT`] bytes, without what could move a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    let end = text.floor_char_boundary(LIMIT);
    let mut line: String = text[..end]
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if end < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_cleaned() {
        assert_eq!(printable("a\nb\x1b[31m"), "a b [31m");
        assert_eq!(
            printable(&"ä".repeat(LIMIT)),
            format!("{}…", "ä".repeat(LIMIT / 2))
        );
    }
}
