//! Estimate of the memory that a JSON text takes once it is parsed.

/// Bytes of a map, with any number of fields: an allocation has capacity for eleven.
const MAP: usize = 640;

/// Bytes of a list with up to four items.
const LIST: usize = 128;

/// Bytes of a further field or item: its slot, and the allocator's overhead for its strings.
const ITEM: usize = 160;

/// Returns the approximate maximum number of bytes that a JSON text takes once it is parsed. The eight bytes of text
/// `{"":0}, ` take eighty times as much.
///
/// The function scans the text once and allocates nothing, so it can be called before the text is parsed. The result is
/// meaningless for a text that is not JSON.
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
    fn estimates(#[case] text: &str, #[case] expected: usize) {
        assert_eq!(tree_bytes(text), expected);
    }

    /// A list of small maps takes more memory for each byte of text than any other JSON.
    #[test]
    fn small_maps_take_the_most_memory() {
        let bomb = format!("[{}0]", r#"{"":0}, "#.repeat(1000));
        assert!(tree_bytes(&bomb) > 80 * bomb.len());
        let pod = r#"{"name": "worker", "image": "ghcr.io/dask/dask:2026.8.0", "args": ["dask-worker"]}"#;
        assert!(tree_bytes(pod) < 20 * pod.len());
    }
}
