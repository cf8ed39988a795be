//! The last lines of containers that fail.

use serde_json::{Value, json};

/// Makes Kubernetes keep the end of a container's output in the pod's status when it fails, so that a condition can
/// tell it. Only where the manifest says nothing about it.
pub fn keep(pod_spec: &mut Value) {
    for list in ["initContainers", "containers"] {
        let containers = pod_spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let policy = container.entry("terminationMessagePolicy").or_insert(Value::Null);
            if policy.is_null() {
                *policy = json!("FallbackToLogsOnError");
            }
        }
    }
}

/// The end of what a container wrote, as a sentence can hold it: of the last lines so many.
pub fn shorten(words: &str) -> String {
    const LINES: usize = 3;
    const CHARACTERS: usize = 400;
    let lines: Vec<&str> = words
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    match last.char_indices().rev().nth(CHARACTERS - 1) {
        Some((start, _)) if start > 0 => format!("…{}", &last[start..]),
        _ => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_nothing_is_said() {
        let mut spec = json!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "terminationMessagePolicy": "File"}, null],
        });
        keep(&mut spec);
        assert_eq!(
            spec["initContainers"][0]["terminationMessagePolicy"],
            "FallbackToLogsOnError"
        );
        assert_eq!(
            spec["containers"][0]["terminationMessagePolicy"],
            "FallbackToLogsOnError"
        );
        assert_eq!(spec["containers"][1]["terminationMessagePolicy"], "File");
        keep(&mut json!(null));
    }

    #[test]
    fn the_end_is_what_matters() {
        assert_eq!(shorten(""), "");
        assert_eq!(shorten("one\n\n  two\nthree\nfour\n"), "two | three | four");
        let long = shorten(&"ä".repeat(1000));
        assert_eq!((long.chars().count(), long.starts_with("…ä")), (401, true));
        assert_eq!(shorten(&"a".repeat(400)), "a".repeat(400));
    }
}
