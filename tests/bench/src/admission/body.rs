//! What the API server asks: an `AdmissionReview` about a manifest, each about an object of its own.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Stands for the number of a request; found wherever the object's name is.
const MARK: &str = "77777777";

/// What the webhook is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Fill in and change.
    Mutate,
    /// Check.
    Validate,
}

impl Step {
    /// Both, in the API server's order.
    pub(crate) const ALL: [Self; 2] = [Self::Mutate, Self::Validate];

    /// As in the path.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// The text of a request, with places for its number.
#[derive(Clone, Debug)]
pub(crate) struct Review {
    text: String,
    places: Vec<usize>,
}

impl Review {
    /// The request about a new object, or about one that was `old` before.
    fn of(object: &Value, old: Option<&Value>) -> Self {
        let kind = json!({"group": "kubernetes.dask.org", "version": "v1", "kind": "DaskCluster"});
        let resource = json!({"group": "kubernetes.dask.org", "version": "v1", "resource": "daskclusters"});
        let metadata = &object["metadata"];
        let review = json!({
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": uid(1),
                "kind": kind,
                "resource": resource,
                "requestKind": kind,
                "requestResource": resource,
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
                "userInfo": {
                    "username": "kubernetes-admin",
                    "groups": ["kubeadm:cluster-admins", "system:authenticated"],
                    "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=0123456789abcdef"]},
                },
                "object": object,
                "oldObject": old,
                "dryRun": false,
                "options": {"kind": if old.is_some() { "UpdateOptions" } else { "CreateOptions" }, "apiVersion": "meta.k8s.io/v1",
                    "fieldManager": "kubectl-client-side-apply", "fieldValidation": "Strict"},
            },
        });
        let text = review.to_string();
        let places = text.match_indices(MARK).map(|(at, _)| at).collect();
        Self { text, places }
    }

    /// The request with this number: its object's name and its uid are like no other's.
    pub(crate) fn numbered(&self, number: u64) -> Vec<u8> {
        let mut text = self.text.clone().into_bytes();
        let digits = format!("{:0width$}", number % 100_000_000, width = MARK.len());
        for &at in &self.places {
            text[at..at + MARK.len()].copy_from_slice(digits.as_bytes());
        }
        text
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }
}

/// Says what is wrong with the answer to the request with this number; what is right has allowed it.
pub(crate) fn check(answer: &[u8], number: Option<u64>) -> Result<Value> {
    let review: Value = serde_json::from_slice(answer)
        .with_context(|| format!("the answer is no JSON: {}", String::from_utf8_lossy(answer)))?;
    let response = &review["response"];
    ensure!(response["allowed"] == true, "it was not allowed: {review}");
    if let Some(number) = number {
        let digits = format!("{:0width$}", number % 100_000_000, width = MARK.len());
        let uid = uid(1).replace(MARK, &digits);
        ensure!(
            response["uid"] == uid,
            "it is the answer to another request: {review}"
        );
    }
    Ok(review)
}

/// The same object as the API server shows it to the validating webhook: changed by the answer of the mutating
/// one, and with what the server itself adds.
pub(crate) fn mutated(object: &Value, answer: &Value) -> Result<Value> {
    use base64::Engine as _;
    let mut object = object.clone();
    if let Some(patch) = answer["response"]["patch"].as_str() {
        let patch = base64::engine::general_purpose::STANDARD.decode(patch)?;
        let patch: json_patch::Patch = serde_json::from_slice(&patch)?;
        json_patch::patch(&mut object, &patch).context("the webhook's patch can't be applied")?;
    }
    object["metadata"]["uid"] = json!(uid(2));
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["metadata"]["generation"] = json!(1);
    Ok(object)
}

/// A manifest as `kubectl apply` sends it: with a name that has the request's number, limits of the worker's resources,
/// and padded with variables of its environment until it has this many bytes.
pub(crate) fn applied(manifest: &Value, bytes: usize) -> Result<Value> {
    let old = manifest["metadata"]["name"]
        .as_str()
        .context("the manifest has no metadata.name")?;
    let name = format!("bench-{MARK}");
    let mut object = renamed(manifest, old, &name);
    let worker = object
        .pointer_mut("/spec/worker/spec/containers/0")
        .context("the manifest has no spec.worker.spec.containers[0]")?;
    worker["resources"] = json!({"limits": {"cpu": "2", "memory": "4Gi"}});
    worker["env"] = json!([]);
    let missing = bytes.saturating_sub(object.to_string().len());
    let environment = &mut object["spec"]["worker"]["spec"]["containers"][0]["env"];
    let variables = (0..).map(
        |at| json!({"name": format!("SETTING_{at:03}"), "value": format!("the value of setting {at:03}")}),
    );
    let size = |variable: &Value| variable.to_string().len() + 1;
    let count = missing / variables.clone().next().map_or(1, |first| size(&first));
    *environment = variables.take(count).collect();
    object["metadata"]["namespace"] = json!("default");
    object["metadata"]["managedFields"] = json!([{
        "manager": "kubectl-client-side-apply",
        "operation": "Update",
        "apiVersion": "kubernetes.dask.org/v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:annotations": {}}, "f:spec": {".": {}, "f:scheduler": {}, "f:worker": {}}},
    }]);
    Ok(object)
}

/// The request about an object that is created.
pub(crate) fn review(object: &Value) -> Review {
    Review::of(object, None)
}

/// The request about an object whose number of workers is changed, and nothing else.
pub(crate) fn scaling(object: &Value) -> Review {
    let mut old = object.clone();
    old["spec"]["worker"]["replicas"] = json!(7);
    Review::of(object, Some(&old))
}

/// The same with another name, wherever the name stands as a whole text.
fn renamed(value: &Value, old: &str, new: &str) -> Value {
    match value {
        Value::String(text) if text == old => json!(new),
        Value::Array(items) => items.iter().map(|item| renamed(item, old, new)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), renamed(value, old, new)))
            .collect(),
        other => other.clone(),
    }
}

fn uid(what: u8) -> String {
    format!("0b4e28ba-2fa1-41d2-883f-{what:04}{MARK}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Value {
        json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "metadata": {"name": "simple"},
            "spec": {"worker": {"spec": {"containers": [{"name": "worker"}]}},
                "scheduler": {"service": {"selector": {"dask.org/cluster-name": "simple"}}}}})
    }

    #[test]
    fn each_request_is_about_an_object_of_its_own() {
        let object = applied(&manifest(), 5_000).expect("an object");
        let review = review(&object);
        let asked: Value = serde_json::from_slice(&review.numbered(42)).expect("JSON");
        let object = &asked["request"]["object"];
        assert_eq!(object["metadata"]["name"], "bench-00000042");
        assert_eq!(
            object["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"],
            "bench-00000042"
        );
        assert_eq!(asked["request"]["uid"], "0b4e28ba-2fa1-41d2-883f-000100000042");
        assert_ne!(review.numbered(1), review.numbered(2));
        let size = object.to_string().len();
        assert!((4_900..5_500).contains(&size), "{size} bytes");
    }

    #[test]
    fn answers_are_looked_at() {
        let answer = |allowed: bool, number: u64| {
            let uid = format!("0b4e28ba-2fa1-41d2-883f-0001{number:08}");
            json!({"response": {"allowed": allowed, "uid": uid}}).to_string()
        };
        assert!(check(answer(true, 7).as_bytes(), Some(7)).is_ok());
        assert!(check(answer(true, 7).as_bytes(), Some(8)).is_err());
        assert!(check(answer(true, 7).as_bytes(), None).is_ok());
        assert!(check(answer(false, 7).as_bytes(), Some(7)).is_err());
        assert!(check(b"no", None).is_err());
    }

    #[test]
    fn the_second_step_sees_what_the_first_left() {
        let answer =
            json!({"response": {"patch": "W3sib3AiOiJhZGQiLCJwYXRoIjoiL3NwZWMvYSIsInZhbHVlIjoxfV0="}});
        let object = mutated(&manifest(), &answer).expect("an object");
        assert_eq!(object["spec"]["a"], 1);
        assert!(object["metadata"]["uid"].is_string());
    }
}
