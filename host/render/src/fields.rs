//! Fields that a Dask resource does not have: misspelt ones, which the API server
//! refuses from `kubectl` and drops from others.

use std::collections::BTreeMap;
use std::fmt;

use dask_operator_api::crds;
use serde_json::Value;

use crate::documents::Document;
use crate::render::{Level, Message};

/// How alike two words must be for one to be a mistake for the other, from 0 to 1.
const ALIKE: f64 = 0.6;

/// The fields of all Dask resources, from their definitions.
pub(crate) struct Fields {
    /// Schemas of `spec`, by kind.
    specs: BTreeMap<String, Value>,
}

impl Fields {
    pub(crate) fn new() -> Self {
        let spec = |crd: &Value| {
            let kind = crd.pointer("/spec/names/kind")?.as_str()?.to_owned();
            let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")?;
            Some((kind, schema.clone()))
        };
        let definitions = crds()
            .into_iter()
            .filter_map(|crd| serde_json::to_value(crd).ok());
        Self {
            specs: definitions.filter_map(|crd| spec(&crd)).collect(),
        }
    }

    /// Says which fields of a document are unknown; none where it is no Dask resource.
    pub(crate) fn check(&self, document: &Document) -> Vec<Message> {
        let text = |pointer| {
            document
                .object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let kind = text("/kind");
        let mut unknown = Vec::new();
        if let (Some(schema), Some(spec)) = (self.specs.get(kind), document.object.get("spec")) {
            walk(schema, spec, "spec", &mut unknown);
        }
        let message = |(field, text_of_it)| Message {
            level: Level::Error,
            source: document.source.to_string(),
            object: format!("{kind} {}", text("/metadata/name")).trim().to_owned(),
            field,
            text: text_of_it,
        };
        unknown.into_iter().map(message).collect()
    }

    /// Fields of an object's pod and Service specs that Kubernetes has not and drops, with a sentence
    /// about each. Newer releases may have them.
    pub(crate) fn without_effect(&self, kind: &str, object: &Value) -> Vec<(String, String)> {
        let mut unknown = Vec::new();
        if let (Some(schema), Some(spec)) = (self.specs.get(kind), object.get("spec")) {
            walk_kubernetes(schema, spec, Path::Root("spec"), false, &mut unknown);
        }
        unknown
    }
}

/// Where a field is. It is written out only where there is something to say, which is seldom.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root(&'a str),
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => f.write_str(name),
            Self::Field(of, name) => write!(f, "{of}.{name}"),
            Self::Item(of, at) => write!(f, "{of}[{at}]"),
        }
    }
}

/// Collects fields within Kubernetes' own parts that are in none of their schemas.
fn walk_kubernetes(
    schema: &Value,
    value: &Value,
    path: Path<'_>,
    inside: bool,
    unknown: &mut Vec<(String, String)>,
) {
    let inside = inside || schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                walk_kubernetes(&schema["items"], item, Path::Item(&path, at), inside, unknown);
            }
        }
        Value::Object(given) => {
            // Without properties it is a map, or anything.
            let Some(Value::Object(known)) = schema.get("properties") else {
                return;
            };
            for (name, value) in given {
                let field = Path::Field(&path, name);
                match known.get(name) {
                    Some(schema) => walk_kubernetes(schema, value, field, inside, unknown),
                    None if inside => unknown.push((field.to_string(), without_effect(name, known.keys()))),
                    None => {}
                }
            }
        }
        _ => {}
    }
}

/// A sentence about a field that Kubernetes drops.
fn without_effect<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let advice = alike(name, known.map(String::as_str)).map_or_else(
        || "`kubectl explain` says which there are".to_owned(),
        |other| format!("did you mean `{other}`?"),
    );
    format!("Kubernetes has no such field and drops it; {advice}")
}

/// Collects what is unknown in `value`, as fields and sentences. What has another type
/// than it should is left to the components, which say more about it.
fn walk(schema: &Value, value: &Value, path: &str, unknown: &mut Vec<(String, String)>) {
    // Kubernetes' own parts are kept whatever stands in them.
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    let (Some(Value::Object(known)), Value::Object(given)) = (schema.get("properties"), value) else {
        return;
    };
    for (name, value) in given {
        let field = format!("{path}.{name}");
        match known.get(name) {
            Some(schema) => walk(schema, value, &field, unknown),
            None => {
                let instead = instead(name, known.keys().map(String::as_str));
                unknown.push((field, format!("there is no such field; {instead}")));
            }
        }
    }
}

/// The word that another one is most probably a mistake for.
fn alike<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &str| {
        strsim::normalized_damerau_levenshtein(&word.to_ascii_lowercase(), &other.to_ascii_lowercase())
    };
    let known = known.into_iter().map(|other| (likeness(other), other));
    let alike = known.filter(|(likeness, _)| *likeness >= ALIKE);
    alike
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, other)| other)
}

/// What to write instead of a word that isn't known: the one that is alike, or any of them.
pub(crate) fn instead<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.into_iter().collect();
    match alike(word, known.iter().copied()) {
        Some(other) => format!("did you mean `{other}`?"),
        None => format!("there are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::documents::Source;

    #[rstest]
    #[case::none(json!({"kind": "DaskCluster", "spec": {"worker": {"spec": {"anything": 1}}}}), &[])]
    #[case::top(json!({"kind": "DaskCluster", "spec": {"wroker": {}}}),
        &["spec.wroker: there is no such field; did you mean `worker`?"])]
    #[case::deeper(json!({"kind": "DaskJob", "spec": {"cluster": {"spec": {"worker": {"Replicas": 1}}}}}),
        &["spec.cluster.spec.worker.Replicas: there is no such field; did you mean `replicas`?"])]
    #[case::nothing_alike(json!({"kind": "DaskAutoscaler", "spec": {"size": 1}}),
        &["spec.size: there is no such field; there are cluster, maximum, minimum"])]
    #[case::two(json!({"kind": "DaskWorkerGroup", "spec": {"worker": {"y": 1}, "x": 1}}),
        &["spec.worker.y: ", "spec.x: "])]
    #[case::other_type(json!({"kind": "DaskCluster", "spec": {"worker": [{"wroker": 1}]}}), &[])]
    #[case::other_kind(json!({"kind": "Pod", "spec": {"wroker": 1}}), &[])]
    fn unknown_fields(#[case] object: Value, #[case] expected: &[&str]) {
        let source = Source {
            file: "a.yaml".into(),
            document: None,
        };
        let messages: Vec<_> = Fields::new()
            .check(&Document { source, object })
            .iter()
            .map(|message| format!("{}: {}", message.field, message.text))
            .collect();
        assert_eq!(messages.len(), expected.len(), "{messages:?}");
        for (message, expected) in messages.iter().zip(expected) {
            assert!(message.starts_with(expected), "{message}");
        }
    }

    #[rstest]
    #[case::fine(json!({"worker": {"spec": {"containers": [{"name": "w", "resources": {"limits": {"memory": 1}}}],
        "nodeSelector": {"anything": "goes"}}}}), &[])]
    #[case::container(json!({"worker": {"spec": {"containers": [{"resource": {}}]}}}),
        &["spec.worker.spec.containers[0].resource: Kubernetes has no such field and drops it; did you mean `resources`?"])]
    #[case::pod(json!({"scheduler": {"spec": {"nodeselector": {}}}}),
        &["spec.scheduler.spec.nodeselector: Kubernetes has no such field and drops it; did you mean `nodeSelector`?"])]
    #[case::service(json!({"scheduler": {"service": {"zzz": 1}}}),
        &["spec.scheduler.service.zzz: Kubernetes has no such field and drops it; `kubectl explain` says which there are"])]
    #[case::ours(json!({"wroker": 1}), &[])]
    fn fields_of_kubernetes(#[case] spec: Value, #[case] expected: &[&str]) {
        let object = json!({"kind": "DaskCluster", "spec": spec});
        let unknown: Vec<_> = Fields::new()
            .without_effect("DaskCluster", &object)
            .into_iter()
            .map(|(field, text)| format!("{field}: {text}"))
            .collect();
        assert_eq!(unknown, expected);
    }
}
