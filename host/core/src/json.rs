//! How much memory a JSON text takes once it is read.

/// Bytes of a map, whatever is in it: maps are allocated with room for eleven fields.
const MAP: usize = 640;

/// Bytes of a list with up to four items.
const LIST: usize = 128;

/// Bytes of a further field or item: its place, and what an allocator adds to its texts.
const ITEM: usize = 160;

/// Returns how many bytes the tree of a JSON text takes at most, about: eight bytes of text, `{"":0}, `, take eighty
/// times as much.
///
/// The text is scanned once and nothing is allocated, so it can be asked before the text is read. What is no JSON gives
/// any number.
#[must_use]
pub fn tree_bytes(text: impl AsRef<[u8]>) -> usize {
    let text = text.as_ref();
    let (mut bytes, mut in_string, mut is_escaped) = (text.len(), false, false);
    for byte in text.iter().copied() {
        if in_string {
            in_string = is_escaped || byte != b'"';
            is_escaped = byte == b'\\' && !is_escaped;
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' => bytes += MAP,
            b'[' => bytes += LIST,
            b',' => bytes += ITEM,
            _ => {}
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", 0)]
    #[case("null", 4)]
    #[case("{}", 2 + MAP)]
    #[case("[1, 2]", 6 + LIST + ITEM)]
    #[case(r#"{"a": [{}, 1], "b": "c"}"#, 24 + 2 * MAP + LIST + 2 * ITEM)]
    #[case(r#""{[,\"{[,\\""#, 12)]
    #[case(r#"["\\", {}]"#, 10 + LIST + ITEM + MAP)]
    fn weights(#[case] text: &str, #[case] expected: usize) {
        assert_eq!(tree_bytes(text), expected);
    }

    /// A list of small maps is the worst that a text can be.
    #[test]
    fn small_maps_are_heavy() {
        let bomb = format!("[{}0]", r#"{"":0}, "#.repeat(1000));
        assert!(tree_bytes(&bomb) > 80 * bomb.len());
        let pod = r#"{"name": "worker", "image": "ghcr.io/dask/dask:2026.8.0", "args": ["dask-worker"]}"#;
        assert!(tree_bytes(pod) < 20 * pod.len());
    }
}
