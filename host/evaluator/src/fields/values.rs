//! Check for values that the schema of their field does not allow.

use std::collections::HashSet;

use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::{Map, Value};

use super::advice::renamed;
use super::{MAX_FINDINGS, Path, names, preserves_unknown, properties};
use crate::suggest::closest;

/// Maximum length of a value that a message quotes, in bytes.
const MAX_QUOTED: usize = 60;

/// Maximum number of fields for which a message about an object lists the names.
const MAX_LISTED: usize = 4;

/// Returns an error for each value in a `spec` that its schema does not allow. If there are many, the last error says that
/// there are more.
pub(super) fn check(schema: &Value, spec: &Value) -> Vec<Finding> {
    let mut check = Check {
        findings: Vec::new(),
        has_more: false,
    };
    check.value(schema, spec, Path::Root("spec"), false);
    if check.has_more {
        let message = "there are more values that can't be used: correct these first";
        check.findings.push(error("spec", message));
    }
    check.findings
}

fn error(field: impl ToString, message: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Error,
        field: field.to_string(),
        message: message.into(),
    }
}

/// Collects errors, up to a maximum number.
struct Check {
    findings: Vec<Finding>,
    /// True if errors were left out because there are too many.
    has_more: bool,
}

impl Check {
    fn report(&mut self, field: Path<'_>, message: String) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(error(field, message));
        } else {
            self.has_more = true;
        }
    }

    /// Checks a value and the values within it. `of_kubernetes` is true within Pod and Service specs. Only there, missing fields
    /// are reported: those of the Dask kinds are left to the components.
    fn value(&mut self, schema: &Value, value: &Value, path: Path<'_>, of_kubernetes: bool) {
        // A null value counts as not set.
        if value.is_null() || self.has_more {
            return;
        }
        let of_kubernetes = of_kubernetes || preserves_unknown(schema);
        if let Some(message) = mismatch(schema, value, of_kubernetes) {
            return self.report(path, message);
        }
        match value {
            Value::Object(given) => match properties(schema) {
                Some(known) => {
                    for (name, value) in given {
                        if let Some(schema) = known.get(name) {
                            self.value(schema, value, Path::Field(&path, name), of_kubernetes);
                        }
                    }
                    if of_kubernetes {
                        self.missing(schema, known, given, path);
                    }
                }
                None => {
                    let Some(schema) = schema.get("additionalProperties") else {
                        return;
                    };
                    for (name, value) in given {
                        self.value(schema, value, Path::Key(&path, name), of_kubernetes);
                    }
                }
            },
            Value::Array(items) => {
                let Some(item_schema) = schema.get("items") else {
                    return;
                };
                for (at, item) in items.iter().enumerate() {
                    self.value(item_schema, item, Path::Item(&path, at), of_kubernetes);
                }
                self.duplicates(schema, item_schema, items, path);
            }
            _ => {}
        }
    }

    /// Reports required fields that an object does not have.
    fn missing(
        &mut self,
        schema: &Value,
        known: &Map<String, Value>,
        given: &Map<String, Value>,
        path: Path<'_>,
    ) {
        let required = schema.get("required").and_then(Value::as_array);
        for field in required.into_iter().flatten().filter_map(Value::as_str) {
            let has_default = || {
                known
                    .get(field)
                    .is_some_and(|schema| schema.get("default").is_some())
            };
            // The components add the containers of a Pod, or report the reason why they can't.
            let is_filled_in = field == "containers";
            if is_filled_in || given.get(field).is_some_and(|value| !value.is_null()) || has_default() {
                continue;
            }
            let is_meant = |name: &&str| {
                let other = renamed(name, &path, known).or_else(|| closest(name, names(known)));
                other == Some(field)
            };
            let mut others = names(given)
                .filter(|name| !known.contains_key(*name))
                .take(MAX_FINDINGS);
            let message = match (others.find(is_meant), known.get(field)) {
                (Some(other), _) => format!("it is missing: write `{field}` in place of `{other}`"),
                (None, Some(schema)) => format!("it is missing: write {}", expected(schema, None)),
                (None, None) => "it is missing".to_owned(),
            };
            self.report(Path::Field(&path, field), message);
        }
    }

    /// Reports list items that have the same values in the key fields of the list (`x-kubernetes-list-map-keys`) as an earlier
    /// item.
    fn duplicates(&mut self, schema: &Value, item_schema: &Value, items: &[Value], path: Path<'_>) {
        if schema.get("x-kubernetes-list-type").and_then(Value::as_str) != Some("map") {
            return;
        }
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let keys: Vec<&str> = keys.into_iter().flatten().filter_map(Value::as_str).collect();
        let default = |key: &str| item_schema.get("properties")?.get(key)?.get("default");
        let identity = |item: &Value| {
            let values = keys.iter().map(|key| {
                let value = item.get(*key).or_else(|| default(key));
                value.map(|value| format!("`{key}: {}`", text(value)))
            });
            let values = values.collect::<Option<Vec<String>>>();
            values.map(|values| values.join(" and "))
        };
        let mut seen: HashSet<String> = HashSet::new();
        for (at, item) in items.iter().enumerate() {
            let Some(identity) = identity(item) else {
                continue;
            };
            if seen.contains(&identity) {
                let message = format!("there is another one with {identity}: take one of them out");
                self.report(Path::Item(&path, at), message);
            } else {
                seen.insert(identity);
            }
        }
    }
}

/// Returns the reason why a schema does not allow a value, by its type, enum, minimum or maximum; `None` if it does.
fn mismatch(schema: &Value, value: &Value, of_kubernetes: bool) -> Option<String> {
    if !is_of_type(schema, value) {
        return Some(wrong_type(schema, value));
    }
    let words = schema.get("enum").and_then(Value::as_array);
    if let Some(words) = words.filter(|words| !words.contains(value)) {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", text(word))).collect();
        return Some(format!(
            "{} can't be used: write {}",
            quoted(value),
            words.join(" or ")
        ));
    }
    let number = value.as_f64()?;
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let (smallest, greatest) = match type_of(schema) {
        // The CustomResourceDefinition allows larger numbers too, but the API server refuses a Pod or Service with them.
        ("integer", Some("int32")) if of_kubernetes => (f64::from(i32::MIN), f64::from(i32::MAX)),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    let least = bound("minimum").unwrap_or(smallest);
    if number < least {
        return Some(format!("{value} can't be used: write {least} or more"));
    }
    let most = bound("maximum").unwrap_or(greatest);
    (number > most).then(|| format!("{value} can't be used: write {most} or less"))
}

/// Returns the type that a schema declares, which is empty if there is none, and its format.
fn type_of(schema: &Value) -> (&str, Option<&str>) {
    let of = |name: &str| schema.get(name).and_then(Value::as_str);
    (of("type").unwrap_or_default(), of("format"))
}

/// Returns true if the schema allows a whole number or a string.
fn is_int_or_string(schema: &Value) -> bool {
    schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true))
}

fn is_of_type(schema: &Value, value: &Value) -> bool {
    match type_of(schema).0 {
        _ if is_int_or_string(schema) => is_whole(value) || value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => is_whole(value),
        "string" => value.is_string(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        _ => true,
    }
}

/// Returns true if a value is a whole number. As for the API server, `1.0` is one.
fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// Returns the message for a value of another type than the schema's, with advice.
fn wrong_type(schema: &Value, value: &Value) -> String {
    match (type_of(schema).0, value) {
        _ if is_int_or_string(schema) => match value {
            Value::Number(number) => {
                format!(
                    "{number} can't be used: write a whole number, or put it into quotes, as \"{number}\""
                )
            }
            _ => format!("{} can't be used: write a whole number or text", quoted(value)),
        },
        ("string", Value::Bool(_)) => format!(
            "it must be text, and YAML takes words such as `no`, `off` and `on` for true or false, here for {value}: put the one \
             that you mean into quotes"
        ),
        ("string", Value::Number(_)) => format!("it must be text: put {value} into quotes, as \"{value}\""),
        ("integer", Value::String(number)) if number.parse::<i64>().is_ok() => {
            format!("\"{number}\" is text, and must be a number: write {number} without quotes")
        }
        _ => format!(
            "{} can't be used: write {}",
            quoted(value),
            expected(schema, Some(value))
        ),
    }
}

/// Returns a description of the values that a schema allows. `value` is the given value, which determines the example; `None`
/// if the field is missing.
fn expected(schema: &Value, value: Option<&Value>) -> String {
    match type_of(schema).0 {
        _ if is_int_or_string(schema) => "a whole number or text".to_owned(),
        "boolean" => "`true` or `false`, without quotes".to_owned(),
        "integer" => "a whole number".to_owned(),
        "string" => "text".to_owned(),
        "object" => object(schema, value),
        "array" => list(&schema["items"], value),
        _ => "a value".to_owned(),
    }
}

/// Returns the description of an object that a schema allows, for [`expected`].
fn object(schema: &Value, value: Option<&Value>) -> String {
    let Some(known) = properties(schema) else {
        return match value {
            Some(_) if schema.get("additionalProperties").is_some() => {
                "an object, as `{name: value}`".to_owned()
            }
            _ => "an object".to_owned(),
        };
    };
    match value {
        Some(Value::String(text)) if known.contains_key("name") && is_word(text) => {
            match text.split_once('=').filter(|_| known.contains_key("value")) {
                Some((name, value)) => format!("an object, as `{{name: {name}, value: {value}}}`"),
                None => format!("an object, as `{{name: {text}}}`"),
            }
        }
        // Objects of the Dask kinds have too many rules for a short message.
        Some(_) if preserves_unknown(schema) && (1..=MAX_LISTED).contains(&known.len()) => {
            let fields: Vec<String> = names(known).map(|name| format!("`{name}`")).collect();
            format!("an object with {}", fields.join(" or "))
        }
        _ => "an object".to_owned(),
    }
}

/// Returns the description of a list whose items have the schema `items`, for [`expected`].
fn list(items: &Value, value: Option<&Value>) -> String {
    match (type_of(items).0, value) {
        ("string", Some(Value::String(line))) if line.split_whitespace().all(is_word) => {
            let words: Vec<String> = line
                .split_whitespace()
                .map(|word| format!("\"{word}\""))
                .collect();
            format!("a list, as `[{}]`", words.join(", "))
        }
        ("object", Some(Value::Object(_))) => {
            "a list, with `- ` before the first field of each of its items".to_owned()
        }
        ("object", Some(Value::String(name)))
            if is_word(name) && properties(items).is_some_and(|known| known.contains_key("name")) =>
        {
            format!("a list, as `[{{name: {name}}}]`")
        }
        ("object", _) => "a list of objects".to_owned(),
        _ => "a list".to_owned(),
    }
}

/// Returns true if a text has the same meaning with and without quotes, both in YAML and in a shell.
fn is_word(text: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "-_./:=".contains(c);
    !text.is_empty() && text.len() <= MAX_QUOTED && text.chars().all(is_usual)
}

/// Returns a value as a message quotes it. A long value is replaced with a word such as `this text`.
fn quoted(value: &Value) -> String {
    let written = value.to_string();
    match value {
        _ if written.len() <= MAX_QUOTED => written,
        Value::String(_) => "this text".to_owned(),
        Value::Array(_) => "this list".to_owned(),
        _ => "this object".to_owned(),
    }
}

/// Returns a string without quotes, and any other value as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
