//! What `plugin run` takes: manifests, and recorded requests.

use dask_operator_core::parent::DaskKind;
use dask_operator_render::documents::Document;
use dask_operator_runtime::contract::{Observation, Operation};
use serde_json::{Value, json};

use crate::observation::ObservationFile;

/// Something that a plugin is asked about.
#[derive(Debug)]
pub enum Input {
    /// A manifest that somebody applies.
    Manifest(Document),
    /// A request to the webhook, as the API server sends it.
    Review(Review),
    /// An observation as the contract has it.
    Observation(Box<Observation>),
    /// An observation as people write it.
    Written(ObservationFile),
}

/// A request to the webhook.
#[derive(Debug)]
pub struct Review {
    /// Which kind of resource.
    pub kind: DaskKind,
    /// What shall be done with it.
    pub operation: Operation,
    /// The resource.
    pub object: Value,
    /// The resource before an update.
    pub old: Option<Value>,
    /// Who asks.
    pub user: Value,
}

/// What a document is.
///
/// # Errors
///
/// When it looks like a recorded request and can't be read as one.
pub fn input(document: Document) -> Result<Input, String> {
    let object = &document.object;
    let wrong = |what: &str, error: &dyn std::fmt::Display| {
        format!("{}: this {what} can't be read: {error}", document.source)
    };
    if object["kind"] == "AdmissionReview" {
        return review(&object["request"])
            .map(Input::Review)
            .map_err(|error| wrong("AdmissionReview", &error));
    }
    if object["parent"].is_string() {
        let observation: Result<Observation, _> = serde_json::from_value(object.clone());
        return observation
            .map(|one| Input::Observation(Box::new(one)))
            .map_err(|error| wrong("observation", &error));
    }
    if object["parent"].is_object() {
        let observation: Result<ObservationFile, _> = serde_json::from_value(object.clone());
        return observation
            .map(Input::Written)
            .map_err(|error| wrong("observation", &error));
    }
    Ok(Input::Manifest(document))
}

fn review(request: &Value) -> Result<Review, String> {
    let operation = match request["operation"].as_str() {
        Some("CREATE") => Operation::Create,
        Some("UPDATE") => Operation::Update,
        Some("DELETE") => Operation::Delete,
        _ => {
            return Err(format!(
                "its operation is {}: write CREATE, UPDATE or DELETE",
                request["operation"]
            ));
        }
    };
    let old = Some(request["oldObject"].clone()).filter(Value::is_object);
    let object = match operation {
        Operation::Delete => old.clone(),
        _ => Some(request["object"].clone()).filter(Value::is_object),
    };
    let object = object.ok_or("it has no object")?;
    let kind = object["kind"]
        .as_str()
        .and_then(DaskKind::from_kind)
        .ok_or("its object is no Dask resource")?;
    Ok(Review {
        kind,
        operation,
        old: old.filter(|_| operation == Operation::Update),
        object,
        user: Some(request["userInfo"].clone())
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({})),
    })
}

#[cfg(test)]
mod tests {
    use dask_operator_render::documents::Source;

    use super::*;

    fn read(object: Value) -> Result<Input, String> {
        input(Document {
            source: Source {
                file: "f.json".into(),
                document: None,
            },
            object,
        })
    }

    #[test]
    fn what_can_be_given() {
        assert!(matches!(
            read(json!({"kind": "DaskCluster"})),
            Ok(Input::Manifest(_))
        ));
        assert!(matches!(
            read(json!({"parent": {"kind": "DaskCluster"}})),
            Ok(Input::Written(_))
        ));
        let recorded = json!({
            "parent": "{}", "children": [], "related": [], "scheduler": "NotAsked", "now": 1, "seed": 1, "settings": "{}",
        });
        assert!(
            matches!(read(recorded), Ok(Input::Observation(_))),
            "as the contract's records serialise"
        );
        let object = json!({"kind": "DaskJob"});
        let deletion =
            json!({"kind": "AdmissionReview", "request": {"operation": "DELETE", "oldObject": object}});
        let Ok(Input::Review(review)) = read(deletion) else {
            panic!("a request")
        };
        assert_eq!(
            (review.kind, review.operation, review.old),
            (DaskKind::Job, Operation::Delete, None)
        );
    }

    #[test]
    fn mistakes_are_sentences() {
        let error = read(json!({"kind": "AdmissionReview", "request": {"operation": "CONNECT"}}));
        assert!(error.is_err_and(|error| {
            error.starts_with("f.json: this AdmissionReview can't be read: its operation")
        }));
        assert!(read(json!({"parent": {}, "kids": []})).is_err());
    }
}
