//! Values that the definition of their field does not allow.

use std::collections::HashSet;

use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::{Map, Value};

use super::place::renamed;
use super::{MOST, Path, alike, names, preserves_unknown, properties};

/// How long a value can be to stand in a sentence.
const SHORT: usize = 60;

/// How many fields of an object are named where it is missing.
const FEW: usize = 4;

/// Returns an error for each value in a `spec` that its schema does not allow.
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

struct Check {
    findings: Vec<Finding>,
    has_more: bool,
}

impl Check {
    fn say(&mut self, field: Path<'_>, message: String) {
        if self.findings.len() < MOST {
            self.findings.push(error(field, message));
        } else {
            self.has_more = true;
        }
    }

    /// Checks a value and what stands in it. `of_kubernetes` within Kubernetes' own parts: of ours, components say what is
    /// missing.
    fn value(&mut self, schema: &Value, value: &Value, path: Path<'_>, of_kubernetes: bool) {
        // A null means that nothing is given.
        if value.is_null() || self.has_more {
            return;
        }
        let of_kubernetes = of_kubernetes || preserves_unknown(schema);
        if let Some(message) = misfit(schema, value, of_kubernetes) {
            return self.say(path, message);
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
                let Some(of_all) = schema.get("items") else {
                    return;
                };
                for (at, item) in items.iter().enumerate() {
                    self.value(of_all, item, Path::Item(&path, at), of_kubernetes);
                }
                self.twice(schema, of_all, items, path);
            }
            _ => {}
        }
    }

    /// Says which fields an object must have and does not have.
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
            // A pod's containers: components fill them in, or say why they do not.
            let is_filled_in = field == "containers";
            if is_filled_in || given.get(field).is_some_and(|value| !value.is_null()) || has_default() {
                continue;
            }
            let means_it = |name: &&str| {
                let other = renamed(name, &path, known).or_else(|| alike(name, names(known)));
                other == Some(field)
            };
            let mut others = names(given).filter(|name| !known.contains_key(*name)).take(MOST);
            let message = match (others.find(means_it), known.get(field)) {
                (Some(other), _) => format!("it is missing: write `{field}` in place of `{other}`"),
                (None, Some(schema)) => format!("it is missing: write {}", expected(schema, None)),
                (None, None) => "it is missing".to_owned(),
            };
            self.say(Path::Field(&path, field), message);
        }
    }

    /// Says which items of a list are the same one, by the fields that tell them apart.
    fn twice(&mut self, schema: &Value, of_all: &Value, items: &[Value], path: Path<'_>) {
        if schema.get("x-kubernetes-list-type").and_then(Value::as_str) != Some("map") {
            return;
        }
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let keys: Vec<&str> = keys.into_iter().flatten().filter_map(Value::as_str).collect();
        let default = |key: &str| of_all.get("properties")?.get(key)?.get("default");
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
                self.say(Path::Item(&path, at), message);
            } else {
                seen.insert(identity);
            }
        }
    }
}

/// Why a schema does not allow a value, by its type, its words, its smallest or its greatest number.
fn misfit(schema: &Value, value: &Value, of_kubernetes: bool) -> Option<String> {
    if !is_of_type(schema, value) {
        return Some(wrong_type(schema, value));
    }
    let words = schema.get("enum").and_then(Value::as_array);
    if let Some(words) = words.filter(|words| !words.contains(value)) {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", text(word))).collect();
        return Some(format!(
            "{} can't be used: write {}",
            shown(value),
            words.join(" or ")
        ));
    }
    let number = value.as_f64()?;
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let (smallest, greatest) = match type_of(schema) {
        // The definition takes greater ones all the same, but no Pod and no Service is made with them.
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

/// The type that a schema names, and its format.
fn type_of(schema: &Value) -> (&str, Option<&str>) {
    let of = |name: &str| schema.get(name).and_then(Value::as_str);
    (of("type").unwrap_or_default(), of("format"))
}

/// Whether it takes a whole number or a text.
fn is_either(schema: &Value) -> bool {
    schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true))
}

fn is_of_type(schema: &Value, value: &Value) -> bool {
    match type_of(schema).0 {
        _ if is_either(schema) => is_whole(value) || value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => is_whole(value),
        "string" => value.is_string(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        _ => true,
    }
}

/// Whether a value is a whole number, as the API server sees it: `1.0` is one.
fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// What is wrong with a value of another type, and what to write instead.
fn wrong_type(schema: &Value, value: &Value) -> String {
    match (type_of(schema).0, value) {
        _ if is_either(schema) => match value {
            Value::Number(number) => {
                format!(
                    "{number} can't be used: write a whole number, or put it into quotes, as \"{number}\""
                )
            }
            _ => format!("{} can't be used: write a whole number or text", shown(value)),
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
            shown(value),
            expected(schema, Some(value))
        ),
    }
}

/// What a schema takes, as it could be written in place of a value.
fn expected(schema: &Value, value: Option<&Value>) -> String {
    match type_of(schema).0 {
        _ if is_either(schema) => "a whole number or text".to_owned(),
        "boolean" => "`true` or `false`, without quotes".to_owned(),
        "integer" => "a whole number".to_owned(),
        "string" => "text".to_owned(),
        "object" => object(schema, value),
        "array" => list(&schema["items"], value),
        _ => "a value".to_owned(),
    }
}

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
        // Of our own objects more is to be known than fits here.
        Some(_) if preserves_unknown(schema) && (1..=FEW).contains(&known.len()) => {
            let fields: Vec<String> = names(known).map(|name| format!("`{name}`")).collect();
            format!("an object with {}", fields.join(" or "))
        }
        _ => "an object".to_owned(),
    }
}

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

/// Whether a text means the same in YAML with and without quotes, and to a shell.
fn is_word(text: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "-_./:=".contains(c);
    !text.is_empty() && text.len() <= SHORT && text.chars().all(is_usual)
}

/// A value for a sentence.
fn shown(value: &Value) -> String {
    let written = value.to_string();
    match value {
        _ if written.len() <= SHORT => written,
        Value::String(_) => "this text".to_owned(),
        Value::Array(_) => "this list".to_owned(),
        _ => "this object".to_owned(),
    }
}

/// A text without its quotes, or another value as it is.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
