//! YAML parser with the rules of kubectl, so that `render` shows the objects that the API server would receive.
//!
//! Scalars and keys follow YAML 1.1: `y`, `no` and `on` are booleans, and `0777` is octal. The result is JSON: keys are
//! strings, and `1e3` is a whole number. Two rules are stricter: a duplicate key is an error, where kubectl takes the last
//! value, and a null key is an error. One rule differs: a word such as `yEs` is a string for kubectl and a boolean here.
//!
//! Pure: does no I/O.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Budget, Error as Problem};
use thiserror::Error as IsError;

/// Upper bound (2^53) below which every whole number is exact as a floating point number.
const EXACT_BOUND: f64 = 9_007_199_254_740_992.0;

/// Error of parsing YAML: a one-line message with line and column.
#[derive(Debug, IsError)]
#[error("{0}")]
pub struct YamlError(String);

impl From<Problem> for YamlError {
    /// Shortens the message of the library, which has several lines, quotes the text, and names options that only a program can
    /// set.
    fn from(problem: Problem) -> Self {
        let message = problem.to_string();
        let first = message
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let text = match original(&problem) {
            Problem::DuplicateMappingKey { key: Some(key), .. } => {
                format!("the key `{key}` stands here twice: remove one of them")
            }
            Problem::DuplicateMappingKey { .. } => "a key stands here twice: remove one of them".to_owned(),
            Problem::Budget { breach, .. } => budget_message(breach).to_owned(),
            _ => first.to_owned(),
        };
        Self(match problem.location() {
            Some(location) if !text.contains("line ") => {
                format!("line {}, column {}: {text}", location.line(), location.column())
            }
            _ => text,
        })
    }
}

/// Returns the original problem, without the alias through which the parser reached it.
fn original(problem: &Problem) -> &Problem {
    match problem.without_snippet() {
        Problem::AliasError { error, .. } => original(error),
        problem => problem,
    }
}

/// Returns the message for an exceeded limit of the parser.
fn budget_message(breach: &BudgetBreach) -> &'static str {
    match breach {
        BudgetBreach::Depth { .. } => "it is nested too deeply: write at most 64 levels",
        BudgetBreach::MergeKeys { .. } => "it has too many merge keys (`<<`): write out what they stand for",
        BudgetBreach::Nodes { .. }
        | BudgetBreach::Events { .. }
        | BudgetBreach::Aliases { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::RecordedAnchorEvents { .. }
        | BudgetBreach::RecordedAnchorBytes { .. } => {
            "its aliases (`*name`) stand for too much: write out what they stand for"
        }
        _ => "it is too large: divide it into several files",
    }
}

/// Parses all documents of a text.
///
/// # Errors
///
/// Returns an error if the text is not valid YAML.
pub fn documents(text: &str) -> Result<Vec<Value>, YamlError> {
    let documents: Vec<Node> = serde_saphyr::from_multiple_with_options(text, options(text))?;
    Ok(documents.into_iter().map(|Node(value)| value).collect())
}

/// Parses the only document of a text. Returns null if the text is empty.
///
/// # Errors
///
/// Returns an error if the text is not valid YAML or contains several documents.
pub fn document(text: &str) -> Result<Value, YamlError> {
    let Node(value) = serde_saphyr::from_str_with_options(text, options(text))?;
    Ok(value)
}

/// Parses a sequence of JSON documents.
///
/// # Errors
///
/// Returns an error if the text is not valid JSON.
pub fn json(text: &str) -> Result<Vec<Value>, serde_json::Error> {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Node>();
    documents
        .map(|document| document.map(|Node(value)| value))
        .collect()
}

/// Returns options whose limits only restrict the expansion of aliases: a text without aliases has at most one value per byte
/// and two events per value.
fn options(text: &str) -> serde_saphyr::Options {
    let default = Budget::default();
    let bytes = text.len();
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! {
            max_documents: default.max_documents.max(bytes),
            max_events: default.max_events.max(bytes.saturating_mul(2)),
            max_nodes: default.max_nodes.max(bytes),
        },
    }
}

/// A value that is parsed by the rules of this module.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Self)
    }
}

/// Builds the JSON value of a [`Node`].
struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        if value.fract() == 0.0 && value.abs() < EXACT_BOUND {
            return Ok((value as i64).into());
        }
        let number = Number::from_f64(value).ok_or_else(|| E::custom("JSON has no such number"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Node(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((Node(key), Node(value))) = fields.next_entry()? {
            let key = match key {
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) => key.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err(A::Error::custom("a key must be a text"));
                }
            };
            if map.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("the key `{key}` stands here twice")));
            }
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Value, String> {
        let documents = documents(text).map_err(|error| error.to_string())?;
        Ok(documents.into_iter().next().unwrap_or_default())
    }

    /// Expected values are those of kubectl 1.36 (`kubectl annotate --local -f - a=b -o json`).
    #[rstest]
    #[case(json!(true), &["y", "Y", "yes", "Yes", "YES", "on", "On", "true", "TRUE"])]
    #[case(json!(false), &["n", "N", "no", "No", "off", "OFF", "false"])]
    #[case(json!(null), &["~", "null", "Null", "NULL", ""])]
    #[case(json!(511), &["0777", "0o777"])]
    #[case(json!(10), &["012"])]
    #[case(json!(8), &["08"])]
    #[case(json!(31), &["0x1F"])]
    #[case(json!(5), &["0b101", "+5"])]
    #[case(json!(1000), &["1_000", "1e3", "1E3"])]
    #[case(json!(1), &["1.", "1.0"])]
    #[case(json!(0), &["00", "-0", "0.0"])]
    #[case(json!(10.5), &["10.50"])]
    #[case(json!(9_223_372_036_854_775_807_i64), &["9223372036854775807"])]
    fn reads_scalars_as_kubectl(#[case] expected: Value, #[case] texts: &[&str]) {
        for text in texts {
            assert_eq!(read(&format!("k: {text}")), Ok(json!({"k": expected})), "{text}");
        }
    }

    #[rstest]
    fn reads_other_scalars_as_strings(
        #[values("1:30", "2026-01-01", "2026-01-01T00:00:00Z", "1.5Gi", "100m", "1e3Gi", "_1")] text: &str,
    ) {
        assert_eq!(read(&format!("k: {text}")), Ok(json!({"k": text})));
        assert_eq!(
            read("k: 'n'\nl: \"y\"\nm: !!str n"),
            Ok(json!({"k": "n", "l": "y", "m": "n"}))
        );
    }

    #[test]
    fn keys_are_strings_and_merge_keys_are_expanded() {
        assert_eq!(
            read("{n: 1, yes: 2, 1: 3, 0x10: 4, 1.5: 5, 'on': 6}"),
            Ok(json!({"false": 1, "true": 2, "1": 3, "16": 4, "1.5": 5, "on": 6}))
        );
        assert_eq!(
            read("a: &a {x: 1, z: 2}\nb: {<<: *a, x: 3}"),
            Ok(json!({"a": {"x": 1, "z": 2}, "b": {"x": 3, "z": 2}}))
        );
    }

    #[rstest]
    #[case::duplicate_key("a: 1\na: 2", "line 2, column 1: the key `a` stands here twice")]
    #[case::alias_expansion(
        "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n\
         c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n\
         e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]",
        "its aliases (`*name`) stand for too much"
    )]
    fn errors_have_the_line_and_a_short_message(#[case] text: &str, #[case] expected: &str) {
        let error = documents(text).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains(expected) && error.starts_with("line "), "{error}");
    }

    #[test]
    fn reads_a_large_export() {
        let text = format!("items:\n{}", "- {a: 1, b: [2, 3]}\n".repeat(50_000));
        let read = read(&text).expect("YAML");
        assert_eq!(read["items"].as_array().map(Vec::len), Some(50_000));
    }

    #[test]
    fn reads_json_as_kubectl() {
        let text = "{\"replicas\": 3.0, \"part\": 0.5}\n{\"a\": null}\n";
        assert_eq!(
            json(text).ok(),
            Some(vec![json!({"replicas": 3, "part": 0.5}), json!({"a": null})])
        );
        assert!(json("{\"a\": }").is_err() && json("{\"a\": 1} b").is_err());
    }

    #[rstest]
    fn rejects_values_without_a_json_form(
        #[values("k: .inf", "k: .nan", "k: 1\nk: 2", "~: 1", "[a]: 1", "{y: 1, yes: 2}")] text: &str,
    ) {
        let read = read(text);
        assert!(read.is_err(), "{read:?}");
    }
}
