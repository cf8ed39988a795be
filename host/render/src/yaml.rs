//! YAML as kubectl reads it, so that what `render` shows is what the API server would get.
//!
//! That is YAML 1.1 for scalars (`y`, `no` and `on` are booleans, `0777` is octal), for keys too, and JSON for what comes
//! of them: keys are texts, `1e3` is a whole number. Two things are stricter: a key that stands twice is an error, where
//! kubectl takes the last; and so is a key that is null. One differs: a word like `yEs` is a text for kubectl and a boolean
//! here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Budget, Error as Problem};
use thiserror::Error as IsError;

/// Whole numbers up to here are exact in a floating point number.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Why a text is no YAML: a sentence with line and column.
#[derive(Debug, IsError)]
#[error("{0}")]
pub struct YamlError(String);

impl From<Problem> for YamlError {
    /// The library's own message spans lines, shows the text, and names what only a program can set.
    fn from(problem: Problem) -> Self {
        let message = problem.to_string();
        let first = message
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let sentence = match original(&problem) {
            Problem::DuplicateMappingKey { key: Some(key), .. } => {
                format!("the key `{key}` stands here twice: remove one of them")
            }
            Problem::DuplicateMappingKey { .. } => "a key stands here twice: remove one of them".to_owned(),
            Problem::Budget { breach, .. } => too_much(breach).to_owned(),
            _ => first.to_owned(),
        };
        Self(match problem.location() {
            Some(place) if !sentence.contains("line ") => {
                format!("line {}, column {}: {sentence}", place.line(), place.column())
            }
            _ => sentence,
        })
    }
}

/// The problem itself, without where it was met.
fn original(problem: &Problem) -> &Problem {
    match problem.without_snippet() {
        Problem::AliasError { error, .. } => original(error),
        problem => problem,
    }
}

/// What there is too much of.
fn too_much(breach: &BudgetBreach) -> &'static str {
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

/// All documents of a text.
///
/// # Errors
///
/// When it is no YAML.
pub fn documents(text: &str) -> Result<Vec<Value>, YamlError> {
    let documents: Vec<Node> = serde_saphyr::from_multiple_with_options(text, options(text))?;
    Ok(documents.into_iter().map(|Node(value)| value).collect())
}

/// The only document of a text; null where it is empty.
///
/// # Errors
///
/// When it is no YAML, or several documents.
pub fn document(text: &str) -> Result<Value, YamlError> {
    let Node(value) = serde_saphyr::from_str_with_options(text, options(text))?;
    Ok(value)
}

/// All documents of a text that is JSON, one after the other.
///
/// # Errors
///
/// When it is no JSON.
pub fn json(text: &str) -> Result<Vec<Value>, serde_json::Error> {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Node>();
    documents
        .map(|document| document.map(|Node(value)| value))
        .collect()
}

/// Without aliases, a text has no more values than bytes, and each has two events at most. Only aliases are bounded.
fn options(text: &str) -> serde_saphyr::Options {
    let usual = Budget::default();
    let bytes = text.len();
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! {
            max_documents: usual.max_documents.max(bytes),
            max_events: usual.max_events.max(bytes.saturating_mul(2)),
            max_nodes: usual.max_nodes.max(bytes),
        },
    }
}

/// A value.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
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
        if value.fract() == 0.0 && value.abs() < EXACT {
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

    /// What kubectl 1.36 made of them (`kubectl annotate --local -f - a=b -o json`).
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
    fn scalars(#[case] expected: Value, #[case] texts: &[&str]) {
        for text in texts {
            assert_eq!(read(&format!("k: {text}")), Ok(json!({"k": expected})), "{text}");
        }
    }

    #[rstest]
    fn texts(
        #[values("1:30", "2026-01-01", "2026-01-01T00:00:00Z", "1.5Gi", "100m", "1e3Gi", "_1")] text: &str,
    ) {
        assert_eq!(read(&format!("k: {text}")), Ok(json!({"k": text})));
        assert_eq!(
            read("k: 'n'\nl: \"y\"\nm: !!str n"),
            Ok(json!({"k": "n", "l": "y", "m": "n"}))
        );
    }

    #[test]
    fn keys() {
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
    #[case::twice("a: 1\na: 2", "line 2, column 1: the key `a` stands here twice")]
    #[case::bomb(
        "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n\
         c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n\
         e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]",
        "its aliases (`*name`) stand for too much"
    )]
    fn errors_are_sentences(#[case] text: &str, #[case] expected: &str) {
        let error = documents(text).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains(expected) && error.starts_with("line "), "{error}");
    }

    #[test]
    fn a_large_export_is_read() {
        let text = format!("items:\n{}", "- {a: 1, b: [2, 3]}\n".repeat(50_000));
        let read = read(&text).expect("YAML");
        assert_eq!(read["items"].as_array().map(Vec::len), Some(50_000));
    }

    #[test]
    fn json_is_read_as_kubectl_reads_it() {
        let text = "{\"replicas\": 3.0, \"part\": 0.5}\n{\"a\": null}\n";
        assert_eq!(
            json(text).ok(),
            Some(vec![json!({"replicas": 3, "part": 0.5}), json!({"a": null})])
        );
        assert!(json("{\"a\": }").is_err() && json("{\"a\": 1} b").is_err());
    }

    #[rstest]
    fn no_json(#[values("k: .inf", "k: .nan", "k: 1\nk: 2", "~: 1", "[a]: 1", "{y: 1, yes: 2}")] text: &str) {
        let read = read(text);
        assert!(read.is_err(), "{read:?}");
    }
}
