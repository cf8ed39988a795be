//! Comparison of JSON values: differences between two values, and the parts of an expected value that are missing. Pure.

use std::fmt;

use serde_json::{Map, Value};

/// Maximum length of a value in a line, in bytes. Longer values are truncated.
const LONGEST: usize = 200;

/// A difference between two JSON values. At least one of `before` and `after` is set.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Path of the field, as kubectl writes it: `spec.containers[0].image`.
    pub field: String,
    /// The value before. `None` if the field was missing.
    pub before: Option<Value>,
    /// The value after. `None` if the field is missing.
    pub after: Option<Value>,
}

/// Writes `+ field: value`, `- field: value` or `~ field: before → after`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, before, after } = self;
        match (before, after) {
            (Some(before), Some(after)) => write!(f, "~ {field}: {} → {}", short(before), short(after)),
            (Some(before), None) => write!(f, "- {field}: {}", short(before)),
            (None, Some(after)) => write!(f, "+ {field}: {}", short(after)),
            (None, None) => write!(f, "  {field}"),
        }
    }
}

/// Formats a value for display in a line.
fn short(value: &Value) -> String {
    let mut text = match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

/// Returns all differences, in the order of the field names. If all elements of two lists have distinct names, they are
/// compared by name, otherwise by index.
#[must_use]
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk("", before, after, &mut found);
    found
}

fn walk(field: &str, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(before), Value::Object(after)) => {
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                step(&join(field, name), before.get(name), after.get(name), found);
            }
        }
        (Value::Array(before), Value::Array(after)) => match (named(before), named(after)) {
            (Some(before), Some(after)) => {
                for (name, value) in &before {
                    step(&format!("{field}[{name}]"), Some(value), after.get(name), found);
                }
                for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                    step(&format!("{field}[{name}]"), None, Some(value), found);
                }
            }
            _ => {
                for i in 0..before.len().max(after.len()) {
                    step(&format!("{field}[{i}]"), before.get(i), after.get(i), found);
                }
            }
        },
        (before, after) => step(field, Some(before), Some(after), found),
    }
}

fn step(field: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(before), Some(after))
            if before.is_object() && after.is_object() || before.is_array() && after.is_array() =>
        {
            walk(field, before, after, found);
        }
        (before, after) => found.push(Difference {
            field: field.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

/// Returns the elements of a list by name. `None` if an element has no name, or two have the same name.
fn named(list: &[Value]) -> Option<Map<String, Value>> {
    let pairs = list
        .iter()
        .map(|element| Some((element.get("name")?.as_str()?.to_owned(), element.clone())));
    let map = pairs.collect::<Option<Map<_, _>>>()?;
    (map.len() == list.len()).then_some(map)
}

/// Returns the path of a field below another. Names with dots or slashes, such as those of labels, are put in brackets.
fn join(field: &str, name: &str) -> String {
    if name.contains(['.', '/']) {
        format!("{field}[{name:?}]")
    } else if field.is_empty() {
        name.to_owned()
    } else {
        format!("{field}.{name}")
    }
}

/// Returns a line for each part of `expected` that `actual` lacks. Empty if `actual` has all parts.
///
/// An object must have the expected fields. A list must have a matching element for each expected element, in any order.
/// All other values must be equal. An expected `null` means that the field is missing or `null`.
#[must_use]
pub fn missing(expected: &Value, actual: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", expected, Some(actual), &mut lines);
    lines
}

fn compare(field: &str, expected: &Value, actual: Option<&Value>, lines: &mut Vec<String>) {
    let name = if field.is_empty() { "it" } else { field };
    match (expected, actual) {
        (Value::Null, None | Some(Value::Null)) => {}
        (expected, None) => lines.push(format!("{name}: expected {}, there is nothing", short(expected))),
        (Value::Object(expected), Some(Value::Object(actual))) => {
            for (key, value) in expected {
                compare(&join(field, key), value, actual.get(key), lines);
            }
        }
        (Value::Array(expected), Some(Value::Array(actual))) => {
            let mut free: Vec<&Value> = actual.iter().collect();
            for (i, element) in expected.iter().enumerate() {
                match free.iter().position(|other| missing(element, other).is_empty()) {
                    Some(index) => {
                        free.remove(index);
                    }
                    None => lines.push(format!("{field}[{i}]: nothing is like {}", short(element))),
                }
            }
        }
        (expected, Some(actual)) if expected == actual => {}
        (expected, Some(actual)) => {
            lines.push(format!(
                "{name}: expected {}, it is {}",
                short(expected),
                short(actual)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_all_differences() {
        let before = json!({
            "metadata": {"labels": {"example.com/a": "1"}},
            "spec": {"gone": 1, "containers": [{"name": "a", "image": "x"}, {"name": "b"}], "args": ["x"]},
        });
        let after = json!({
            "metadata": {"labels": {"example.com/a": "2"}},
            "spec": {"new": {"x": 1}, "containers": [{"name": "b"}, {"name": "a", "image": "y"}, {"name": "c"}], "args": ["x", "y"]},
        });
        let lines: Vec<_> = differences(&before, &after)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "~ metadata.labels[\"example.com/a\"]: 1 → 2",
                "+ spec.args[1]: y",
                "~ spec.containers[a].image: x → y",
                "+ spec.containers[c]: {\"name\":\"c\"}",
                "- spec.gone: 1",
                "+ spec.new: {\"x\":1}",
            ]
        );
        assert_eq!(differences(&before, &before), []);
        assert_eq!(differences(&json!(1), &json!("1")).len(), 1);
    }

    #[rstest]
    #[case(json!({"a": 1}), json!({"a": 1, "b": 2}), &[])]
    #[case(json!({"a": null}), json!({"b": 2}), &[])]
    #[case(json!({"b": null}), json!({"b": 2}), &["b: expected null, it is 2"])]
    #[case(json!({"a": {"b": 1}}), json!({}), &["a: expected {\"b\":1}, there is nothing"])]
    #[case(json!({"a": {"b": 1}}), json!({"a": {"b": "1"}}), &["a.b: expected 1, it is 1"])]
    #[case(json!([{"a": 1}]), json!([{"a": 2}, {"a": 1, "b": 1}]), &[])]
    #[case(json!([1, 1]), json!([1, 2]), &["[1]: nothing is like 1"])]
    #[case(json!({"l": []}), json!({"l": [1]}), &[])]
    fn lists_missing_parts(#[case] expected: Value, #[case] actual: Value, #[case] lines: &[&str]) {
        assert_eq!(missing(&expected, &actual), lines);
    }
}
