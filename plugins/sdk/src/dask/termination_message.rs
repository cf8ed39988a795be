//! Termination messages of failed containers.

use serde_json::{Value, json};

/// Makes Kubernetes store the end of a failed container's output in the pod's status, so that a condition can contain it.
/// A policy in the manifest is not changed.
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

/// Shortens a termination message for a condition: the last three lines, at most 400 characters.
pub fn shorten(message: &str) -> String {
    const LINES: usize = 3;
    const CHARACTERS: usize = 400;
    let lines: Vec<&str> = message
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
    fn keeps_the_policy_in_the_manifest() {
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
    fn shortens_to_the_last_lines() {
        assert_eq!(shorten(""), "");
        assert_eq!(shorten("one\n\n  two\nthree\nfour\n"), "two | three | four");
        let long = shorten(&"ä".repeat(1000));
        assert_eq!((long.chars().count(), long.starts_with("…ä")), (401, true));
        assert_eq!(shorten(&"a".repeat(400)), "a".repeat(400));
    }
}
