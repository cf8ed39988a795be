//! Command lines of containers.

use serde_json::Value;

/// Returns all words of a container's command and arguments. A shell's script is taken apart at spaces.
pub fn words(container: &Value) -> impl Iterator<Item = &str> {
    let parts = [&container["command"], &container["args"]]
        .into_iter()
        .filter_map(Value::as_array)
        .flatten();
    parts.filter_map(Value::as_str).flat_map(str::split_whitespace)
}

/// Returns the value of an option that is written as `--name value` or `--name=value`.
pub fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words
        .iter()
        .enumerate()
        .find_map(|(at, word)| match word.strip_prefix(name)? {
            "" => words.get(at + 1).copied(),
            rest => rest.strip_prefix('='),
        })
}
