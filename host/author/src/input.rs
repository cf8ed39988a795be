//! Input of `plugin run`: manifests, observations and recorded requests.

use dask_operator_core::parent::DaskKind;
use dask_operator_render::documents::Document;
use dask_operator_runtime::contract::{Observation, Operation};
use serde_json::{Value, json};

use crate::observation::ObservationFile;
use crate::simulation::AdmissionInput;

/// A document that `plugin run` reads.
#[derive(Debug)]
pub enum Input {
    /// A manifest, as a user applies it.
    Manifest(Document),
    /// An admission review, as the API server sends it.
    Review(AdmissionInput),
    /// An observation in the form of the contract.
    Observation(Box<Observation>),
    /// A hand-written observation.
    Written(ObservationFile),
}

/// Classifies a document.
///
/// # Errors
///
/// Returns an error if the document looks like an admission review or an observation and cannot be read as one.
pub fn classify(document: Document) -> Result<Input, String> {
    let object = &document.object;
    let invalid = |what: &str, error: &dyn std::fmt::Display| {
        format!("{}: this {what} can't be read: {error}", document.source)
    };
    if object["kind"] == "AdmissionReview" {
        return review(&object["request"])
            .map(Input::Review)
            .map_err(|error| invalid("AdmissionReview", &error));
    }
    if object["parent"].is_string() {
        let observation: Result<Observation, _> = serde_json::from_value(object.clone());
        return observation
            .map(|observation| Input::Observation(Box::new(observation)))
            .map_err(|error| invalid("observation", &error));
    }
    if object["parent"].is_object() {
        let observation: Result<ObservationFile, _> = serde_json::from_value(object.clone());
        return observation
            .map(Input::Written)
            .map_err(|error| invalid("observation", &error));
    }
    Ok(Input::Manifest(document))
}

fn review(request: &Value) -> Result<AdmissionInput, String> {
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
    Ok(AdmissionInput {
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
    use dask_operator_render::documents::DocumentSource;

    use super::*;

    fn read(object: Value) -> Result<Input, String> {
        classify(Document {
            source: DocumentSource {
                file: "f.json".into(),
                document: None,
            },
            object,
        })
    }

    #[test]
    fn distinguishes_manifests_observations_and_reviews() {
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
            "the contract's records as they are serialised"
        );
        let object = json!({"kind": "DaskJob"});
        let deletion =
            json!({"kind": "AdmissionReview", "request": {"operation": "DELETE", "oldObject": object}});
        let Ok(Input::Review(review)) = read(deletion) else {
            panic!("no admission request")
        };
        assert_eq!(
            (review.kind, review.operation, review.old),
            (DaskKind::Job, Operation::Delete, None)
        );
    }

    #[test]
    fn mistakes_are_explained() {
        let error = read(json!({"kind": "AdmissionReview", "request": {"operation": "CONNECT"}}));
        assert!(error.is_err_and(|error| {
            error.starts_with("f.json: this AdmissionReview can't be read: its operation")
        }));
        assert!(read(json!({"parent": {}, "kids": []})).is_err());
    }
}
