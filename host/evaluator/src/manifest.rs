//! Changes that the API server makes to a manifest before it calls any webhook: it removes nulls, decodes `metadata`, and
//! drops unknown fields.
//!
//! Pure: does no I/O.

use dask_operator_core::labels::{self, MAX as LABEL_MAX};
use dask_operator_core::parent::DaskKind;
use dask_operator_core::rfc1123;
use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::{Map, Value, json};

use crate::fields::FIELDS;
use crate::suggest::did_you_mean;

/// The top-level fields of an object.
const ROOT: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// The fields of `metadata` with their types, in alphabetical order.
const METADATA: [(&str, Form); 15] = [
    ("annotations", Form::Texts),
    ("creationTimestamp", Form::Text),
    ("deletionGracePeriodSeconds", Form::Number),
    ("deletionTimestamp", Form::Text),
    ("finalizers", Form::ListOfTexts),
    ("generateName", Form::Text),
    ("generation", Form::Number),
    ("labels", Form::Texts),
    ("managedFields", Form::ListOfObjects),
    ("name", Form::Text),
    ("namespace", Form::Text),
    ("ownerReferences", Form::ListOfObjects),
    ("resourceVersion", Form::Text),
    ("selfLink", Form::Text),
    ("uid", Form::Text),
];

/// The fields of `metadata` that an author may set.
const AUTHOR_FIELDS: [&str; 7] = [
    "annotations",
    "finalizers",
    "generateName",
    "labels",
    "name",
    "namespace",
    "ownerReferences",
];

/// Placeholder for the characters that the API server appends to `metadata.generateName`, for components and messages.
const GENERATED_SUFFIX: &str = "xxxxx";

/// Maximum number of characters of `metadata.generateName` that the API server uses.
const PREFIX_MAX: usize = 58;

/// Type of a field of `metadata`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    /// A map from names to strings.
    Texts,
    ListOfTexts,
    ListOfObjects,
}

/// Changes a manifest as the API server does before it calls any webhook, and returns findings. An error is something that the
/// API server refuses, a mistake is something that it drops.
#[must_use]
pub fn receive(kind: DaskKind, object: &mut Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    FIELDS.prune_nulls(kind, object);
    let Value::Object(root) = object else {
        return findings;
    };
    // `spec` is not nullable, so that a null counts as not set.
    if root.get("spec").is_some_and(Value::is_null) {
        root.remove("spec");
    }
    for name in unknown(root, |name| ROOT.contains(&name)) {
        root.remove(&name);
        let message = format!(
            "a {} has no such field, and the API server drops it; {}",
            kind.kind(),
            root_field_advice(kind, &name)
        );
        findings.push(finding(Severity::Mistake, &name, message));
    }
    match root.get_mut("metadata") {
        None | Some(Value::Null) => {}
        Some(Value::Object(metadata)) => check_metadata(metadata, &mut findings),
        Some(other) => {
            let message = format!(
                "it must be an object, and {} stands there: write it as `{{name: my-cluster}}`",
                type_name(other)
            );
            findings.push(finding(Severity::Error, "metadata", message));
        }
    }
    findings
}

/// Returns a name like the one that the API server generates from `metadata.generateName`. The name depends only on the prefix
/// and on `number`, which is 1 for the first object with this prefix.
#[must_use]
pub fn generated_name(prefix: &str, number: usize) -> String {
    let prefix: String = prefix.chars().take(PREFIX_MAX).collect();
    match number {
        0 | 1 => format!("{prefix}{GENERATED_SUFFIX}"),
        _ => format!("{prefix}{number:x>5}"),
    }
}

/// Returns the names of unknown fields.
fn unknown(object: &Map<String, Value>, is_known: impl Fn(&str) -> bool) -> Vec<String> {
    object.keys().filter(|name| !is_known(name)).cloned().collect()
}

/// Returns the advice for an unknown top-level field.
fn root_field_advice(kind: DaskKind, name: &str) -> String {
    let is_field = |spec: Value| FIELDS.unknown(kind, &json!({ "spec": spec })).is_empty();
    if is_field(json!({ name: null })) {
        return format!("did you mean `spec.{name}`?");
    }
    if is_field(json!({"worker": {name: null}})) {
        return format!("did you mean `spec.worker.{name}`?");
    }
    if METADATA.iter().any(|(known, _)| *known == name) {
        return format!("did you mean `metadata.{name}`?");
    }
    did_you_mean(name, ROOT)
}

/// Removes unknown fields of `metadata` and checks the others.
fn check_metadata(metadata: &mut Map<String, Value>, findings: &mut Vec<Finding>) {
    for name in unknown(metadata, |name| METADATA.iter().any(|(known, _)| *known == name)) {
        metadata.remove(&name);
        let advice = match ROOT.contains(&name.as_str()) {
            true => format!("write `{name}` beside `metadata`"),
            false => did_you_mean(&name, AUTHOR_FIELDS),
        };
        let message = format!("`metadata` has no such field, and the API server drops it; {advice}");
        findings.push(finding(Severity::Mistake, &format!("metadata.{name}"), message));
    }
    for (name, form) in METADATA {
        if let Some(value) = metadata.get_mut(name) {
            check_field(name, form, value, findings);
        }
    }
    check_names(metadata, findings);
}

/// Checks the type of a field of `metadata`. A null counts as not set.
fn check_field(name: &str, form: Form, value: &mut Value, findings: &mut Vec<Finding>) {
    let path = format!("metadata.{name}");
    let remedy = match (form, &mut *value) {
        (_, Value::Null) => return,
        (Form::Text, value) => {
            if let Some(message) = string_error(value) {
                findings.push(finding(Severity::Error, &path, message));
            }
            return;
        }
        (Form::Number, value) if value.is_i64() => return,
        (Form::Texts, Value::Object(texts)) => return check_map(name, texts, findings),
        (Form::ListOfTexts, Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                if let Some(message) = string_error(item) {
                    findings.push(finding(Severity::Error, &format!("{path}[{at}]"), message));
                }
            }
            return;
        }
        (Form::ListOfObjects, Value::Array(items)) if items.iter().all(Value::is_object) => return,
        (Form::Number, _) => "write a whole number",
        (Form::Texts, _) => "write names and values, as `{team: data}`",
        (Form::ListOfTexts, _) => "write a list, as `[example.com/cleanup]`",
        (Form::ListOfObjects, _) => "write a list of objects",
    };
    let message = format!("{} can't stand here: {remedy}", type_name(value));
    findings.push(finding(Severity::Error, &path, message));
}

/// Checks labels or annotations. The API server reads a null as an empty string.
fn check_map(of: &str, texts: &mut Map<String, Value>, findings: &mut Vec<Finding>) {
    let is_labels = of == "labels";
    for (name, value) in texts {
        if value.is_null() {
            *value = "".into();
        }
        // The domain in the name of an annotation may contain capital letters.
        let is_name = match is_labels {
            true => labels::is_key(name),
            false => labels::is_annotation_key(name),
        };
        let path = match is_name {
            true => format!("metadata.{of}.{name}"),
            false => format!("metadata.{of}[{name}]"),
        };
        if !is_name {
            let message = format!(
                "`{name}` is no name for it: write letters, digits, `-`, `_` and `.`, {LABEL_MAX} at most, perhaps with a \
                 domain and `/` before it"
            );
            findings.push(finding(Severity::Error, &path, message));
        }
        if let Some(message) = string_error(value) {
            findings.push(finding(Severity::Error, &path, message));
        } else if let Some(text) = value.as_str().filter(|text| is_labels && !labels::is_value(text)) {
            let message = format!(
                "`{text}` can't be the value of a label, which has letters, digits, `-`, `_` and `.`, {LABEL_MAX} at most: \
                 write it as an annotation"
            );
            findings.push(finding(Severity::Error, &path, message));
        }
    }
}

/// Checks the name of an object and of its namespace.
fn check_names(metadata: &Map<String, Value>, findings: &mut Vec<Finding>) {
    let text = |field: &str| {
        let text = metadata.get(field).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let (field, name) = match (text("name"), text("generateName")) {
        (Some(name), _) => ("metadata.name", name.to_owned()),
        (None, Some(prefix)) => ("metadata.generateName", generated_name(prefix, 1)),
        (None, None) => ("metadata.name", String::new()),
    };
    if !name.is_empty() && !rfc1123::is_subdomain(&name) {
        let message = format!(
            "`{name}` is no name of an object: write at most 253 of a-z, 0-9, - and ., with a letter or digit at both ends"
        );
        findings.push(finding(Severity::Error, field, message));
    }
    if let Some(namespace) = text("namespace").filter(|namespace| !rfc1123::is_label(namespace)) {
        let message = format!(
            "`{namespace}` is no name of a namespace: write at most 63 of a-z, 0-9 and -, with a letter or digit at both ends"
        );
        findings.push(finding(Severity::Error, "metadata.namespace", message));
    }
}

/// Returns the message for a value that is not a string; `None` if it is one.
fn string_error(value: &Value) -> Option<String> {
    match value {
        Value::String(_) => None,
        Value::Bool(value) => Some(format!(
            "it must be text, and YAML takes words such as `no`, `off` and `on` for true or false, here for {value}: put the \
             one that you mean into quotes"
        )),
        Value::Number(value) => Some(format!(
            "it must be text: put {value} into quotes, as \"{value}\""
        )),
        other => Some(format!("it must be text, and {} stands there", type_name(other))),
    }
}

/// Returns the type of a value, for messages.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn finding(severity: Severity, field: &str, message: String) -> Finding {
    Finding {
        severity,
        field: field.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Returns the changed object and the findings as text.
    fn received(mut object: Value) -> (Value, Vec<String>) {
        let findings = receive(DaskKind::Cluster, &mut object);
        let messages = findings.into_iter().map(|finding| {
            let level = match finding.severity {
                Severity::Error => "error",
                Severity::Mistake => "mistake",
                Severity::Warning => "warning",
            };
            format!("{level}: {}: {}", finding.field, finding.message)
        });
        (object, messages.collect())
    }

    #[rstest]
    #[case::export(json!({"apiVersion": "v", "kind": "k", "spec": {}, "status": {"a": 1}, "metadata": {
        "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 2, "creationTimestamp": null,
        "finalizers": ["a/b"], "ownerReferences": [{"kind": "k"}], "managedFields": [{}], "selfLink": "s",
        "labels": {"a": "", "b.example/c": "D_1.x"}, "annotations": {"Example.org/Note": "any text"},
    }}))]
    #[case::nothing(json!({}))]
    #[case::nulls(json!({"metadata": {"labels": null, "annotations": null, "name": null}}))]
    fn accepts_metadata_of_an_export_and_of_nothing(#[case] object: Value) {
        assert_eq!(received(object.clone()), (object, Vec::new()));
    }

    #[rstest]
    #[case::number(json!({"labels": {"team": 42}}), "error: metadata.labels.team: it must be text: put 42 into quotes, as \"42\"")]
    #[case::boolean(json!({"annotations": {"a.io/scrape": true}}),
        "error: metadata.annotations.a.io/scrape: it must be text, and YAML takes words such as")]
    #[case::name(json!({"name": 20_260_101}), "error: metadata.name: it must be text: put 20260101 into quotes")]
    #[case::list(json!({"labels": ["a"]}), "error: metadata.labels: a list can't stand here: write names and values, as `{team")]
    #[case::string(json!({"finalizers": "x"}), "error: metadata.finalizers: a text can't stand here: write a list")]
    #[case::objects(json!({"ownerReferences": {"a": "b"}}), "error: metadata.ownerReferences: an object can't stand here")]
    #[case::label(json!({"labels": {"user": "jane@corp.example"}}),
        "error: metadata.labels.user: `jane@corp.example` can't be the value of a label")]
    #[case::key(json!({"labels": {"bad key": "x"}}), "error: metadata.labels[bad key]: `bad key` is no name for it: write")]
    #[case::slash(json!({"labels": {"branch": "fix/tiles"}}), "error: metadata.labels.branch: `fix/tiles` can't be")]
    #[case::domain(json!({"labels": {"Example.org/a": "x"}}), "error: metadata.labels[Example.org/a]: ")]
    #[case::namespace(json!({"namespace": "Bad NS"}), "error: metadata.namespace: `Bad NS` is no name of a namespace: write")]
    #[case::object_name(json!({"name": "My_Scaler"}), "error: metadata.name: `My_Scaler` is no name of an object: write")]
    #[case::prefix(json!({"generateName": "My_"}), "error: metadata.generateName: `My_xxxxx` is no name of an object")]
    #[case::misspelt(json!({"label": {"a": "b"}}),
        "mistake: metadata.label: `metadata` has no such field, and the API server drops it; did you mean `labels`?")]
    #[case::indented(json!({"spec": {}}), "mistake: metadata.spec: `metadata` has no such field, and the API server drops it; \
        write `spec` beside `metadata`")]
    fn reports_invalid_metadata(#[case] metadata: Value, #[case] expected: &str) {
        let (_, messages) = received(json!({ "metadata": metadata }));
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].starts_with(expected), "{messages:?}");
    }

    #[rstest]
    #[case::of_the_spec("worker", "did you mean `spec.worker`?")]
    #[case::of_the_workers("replicas", "did you mean `spec.worker.replicas`?")]
    #[case::of_the_metadata("labels", "did you mean `metadata.labels`?")]
    #[case::misspelt("specs", "did you mean `spec`?")]
    #[case::nothing("extraordinary", "there are apiVersion, kind, metadata, spec, status")]
    fn unknown_top_level_fields_are_dropped_with_advice(#[case] name: &str, #[case] expected: &str) {
        let (object, messages) = received(json!({ name: {} }));
        assert_eq!(object, json!({}));
        let expected = format!(
            "mistake: {name}: a DaskCluster has no such field, and the API server drops it; {expected}"
        );
        assert_eq!(messages, [expected]);
    }

    #[test]
    fn metadata_must_be_an_object() {
        let (_, messages) = received(json!({"metadata": ["a"]}));
        assert_eq!(
            messages,
            [
                "error: metadata: it must be an object, and a list stands there: write it as `{name: my-cluster}`"
            ]
        );
    }

    #[test]
    fn a_null_spec_is_removed_and_a_null_label_becomes_an_empty_string() {
        let (object, messages) = received(json!({"spec": null, "metadata": {"labels": {"a": null}}}));
        assert_eq!(object, json!({"metadata": {"labels": {"a": ""}}}));
        assert!(messages.is_empty(), "{messages:?}");
    }

    #[test]
    fn generated_names_have_the_form_of_the_api_server() {
        assert_eq!(generated_name("nightly-", 1), "nightly-xxxxx");
        assert_eq!(generated_name("nightly-", 12), "nightly-xxx12");
        assert_eq!(generated_name(&"a".repeat(70), 2).len(), 63);
    }
}
