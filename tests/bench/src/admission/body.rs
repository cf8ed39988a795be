//! Bodies of admission reviews as the API server sends them, each about an object of its own.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Placeholder for the number of a request, in the object's name and in UIDs.
const PLACEHOLDER: &str = "77777777";

/// Step of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Mutating admission.
    Mutate,
    /// Validating admission.
    Validate,
}

impl Step {
    /// Both steps in the order of the API server.
    pub(crate) const ALL: [Self; 2] = [Self::Mutate, Self::Validate];

    /// Returns the name of the step in the URL path.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// The text of an admission review with placeholders for its number.
#[derive(Clone, Debug)]
pub(crate) struct Review {
    text: String,
    /// Offsets of the placeholders in the text, in bytes.
    offsets: Vec<usize>,
}

impl Review {
    /// Creates the review of a new object, or of an update of `old`.
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
        let offsets = text.match_indices(PLACEHOLDER).map(|(at, _)| at).collect();
        Self { text, offsets }
    }

    /// Returns the body of the review with this number. The number makes the object's name and the UID unique.
    pub(crate) fn numbered(&self, number: u64) -> Vec<u8> {
        let mut text = self.text.clone().into_bytes();
        let digits = format!("{:0width$}", number % 100_000_000, width = PLACEHOLDER.len());
        for &at in &self.offsets {
            text[at..at + PLACEHOLDER.len()].copy_from_slice(digits.as_bytes());
        }
        text
    }

    /// Returns the size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }
}

/// Checks that an answer allows the request and, if `number` is set, that it belongs to the review with this number. Returns
/// the parsed answer.
pub(crate) fn check(answer: &[u8], number: Option<u64>) -> Result<Value> {
    let review: Value = serde_json::from_slice(answer)
        .with_context(|| format!("the answer is not JSON: {}", String::from_utf8_lossy(answer)))?;
    let response = &review["response"];
    ensure!(
        response["allowed"] == true,
        "the request was not allowed: {review}"
    );
    if let Some(number) = number {
        let digits = format!("{:0width$}", number % 100_000_000, width = PLACEHOLDER.len());
        let uid = uid(1).replace(PLACEHOLDER, &digits);
        ensure!(
            response["uid"] == uid,
            "the answer belongs to another request: {review}"
        );
    }
    Ok(review)
}

/// Returns the object as the API server sends it to the validating webhook: with the patch of the mutating webhook, and the
/// fields that the server adds.
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

/// Returns a manifest as the API server sends it after `kubectl apply`. The name contains the placeholder, and the worker has
/// resource limits. Environment variables of the worker pad the object to about `bytes` bytes.
pub(crate) fn applied(manifest: &Value, bytes: usize) -> Result<Value> {
    let old = manifest["metadata"]["name"]
        .as_str()
        .context("the manifest has no metadata.name")?;
    let name = format!("bench-{PLACEHOLDER}");
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

/// Returns the review of the creation of an object.
pub(crate) fn review(object: &Value) -> Review {
    Review::of(object, None)
}

/// Returns the review of an update that changes only the number of workers.
pub(crate) fn scaling(object: &Value) -> Review {
    let mut old = object.clone();
    old["spec"]["worker"]["replicas"] = json!(7);
    Review::of(object, Some(&old))
}

/// Returns the value with `new` in place of every string that equals `old`.
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

/// Returns a UID with the placeholder. UIDs of different `kind` differ.
fn uid(kind: u8) -> String {
    format!("0b4e28ba-2fa1-41d2-883f-{kind:04}{PLACEHOLDER}")
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
    fn each_review_is_about_an_object_of_its_own() {
        let object = applied(&manifest(), 5_000).expect("an object");
        let review = review(&object);
        let sent: Value = serde_json::from_slice(&review.numbered(42)).expect("JSON");
        let object = &sent["request"]["object"];
        assert_eq!(object["metadata"]["name"], "bench-00000042");
        assert_eq!(
            object["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"],
            "bench-00000042"
        );
        assert_eq!(sent["request"]["uid"], "0b4e28ba-2fa1-41d2-883f-000100000042");
        assert_ne!(review.numbered(1), review.numbered(2));
        let size = object.to_string().len();
        assert!((4_900..5_500).contains(&size), "{size} bytes");
    }

    #[test]
    fn rejects_refusals_and_answers_to_other_requests() {
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
    fn the_validating_step_receives_the_mutated_object() {
        let answer =
            json!({"response": {"patch": "W3sib3AiOiJhZGQiLCJwYXRoIjoiL3NwZWMvYSIsInZhbHVlIjoxfV0="}});
        let object = mutated(&manifest(), &answer).expect("an object");
        assert_eq!(object["spec"]["a"], 1);
        assert!(object["metadata"]["uid"].is_string());
    }
}
