//! From an `AdmissionReview` to its answer.

use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::DaskKind;
use dask_operator_render::admission::Outcome;
use dask_operator_runtime::contract::Operation;
use kube::core::DynamicObject;
use kube::core::admission::{self, AdmissionRequest, AdmissionResponse, AdmissionReview};
use serde_json::Value;
use thiserror::Error;

use super::ask::Decision;

/// What the webhook is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fill in and change.
    Mutate,
    /// Check.
    Validate,
}

impl Step {
    /// The step of a path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        match path.trim_end_matches('/') {
            "/mutate" => Some(Self::Mutate),
            "/validate" => Some(Self::Validate),
            _ => None,
        }
    }

    /// In metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// A request that is none.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// The body.
    #[error("the body must be an AdmissionReview of admission.k8s.io/v1 in JSON: {0}")]
    Body(String),
    /// What it is about.
    #[error(
        "this webhook is about {DASK_API_VERSION} {kinds} and plugins, not about {0}: take that out of the webhook configuration's rules",
        kinds = DaskKind::ALL.map(DaskKind::kind).join(", ")
    )]
    Kind(String),
    /// What shall be done.
    #[error("this webhook is about CREATE, UPDATE and DELETE, not about CONNECT")]
    Operation,
    /// The object is missing.
    #[error("the request has no object")]
    NoObject,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A Dask resource: components decide.
    Dask(DaskKind),
    /// A plugin of a namespace.
    Plugin,
    /// A plugin of the cluster.
    ClusterPlugin,
}

impl About {
    const PLUGIN: &str = "DaskPlugin";
    const CLUSTER_PLUGIN: &str = "ClusterDaskPlugin";

    fn of_kind(kind: &str) -> Option<Self> {
        match kind {
            Self::PLUGIN => Some(Self::Plugin),
            Self::CLUSTER_PLUGIN => Some(Self::ClusterPlugin),
            kind => DaskKind::from_kind(kind).map(Self::Dask),
        }
    }

    /// The kind, as in a manifest.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Dask(kind) => kind.kind(),
            Self::Plugin => Self::PLUGIN,
            Self::ClusterPlugin => Self::CLUSTER_PLUGIN,
        }
    }
}

/// What is to be decided.
#[derive(Debug)]
pub struct Question {
    /// What for.
    pub step: Step,
    /// What about.
    pub about: About,
    /// What shall be done.
    pub operation: Operation,
    /// The object as it shall be; for a deletion, as it is. Without `metadata.managedFields`.
    pub object: Value,
    /// As it was before an update.
    pub old: Option<Value>,
    /// Who asks.
    pub user: String,
    /// The same with groups and so on, JSON.
    pub user_info: String,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

impl Question {
    /// For metrics: `create`, `update` or `delete`.
    #[must_use]
    pub fn operation_name(&self) -> &'static str {
        match self.operation {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
        }
    }
}

/// A request that was read.
#[derive(Debug)]
pub struct Asked {
    /// What is to be decided.
    pub question: Question,
    response: AdmissionResponse,
}

/// Reads a request.
///
/// # Errors
///
/// When it is none that this webhook can answer.
pub fn read(step: Step, body: &[u8]) -> Result<Asked, ReviewError> {
    let wrong = |error: &dyn ToString| ReviewError::Body(error.to_string());
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_slice(body).map_err(|error| wrong(&error))?;
    if review.types.kind != admission::META_KIND || review.types.api_version != admission::META_API_VERSION_V1
    {
        return Err(wrong(&format!(
            "it is {} {}",
            review.types.api_version, review.types.kind
        )));
    }
    let request: AdmissionRequest<DynamicObject> =
        review.try_into().map_err(|_| wrong(&"it has no `request`"))?;
    let response = AdmissionResponse::from(&request);
    let api_version = format!("{}/{}", request.kind.group, request.kind.version);
    let about = About::of_kind(&request.kind.kind).filter(|_| api_version == DASK_API_VERSION);
    let about = about.ok_or_else(|| ReviewError::Kind(format!("{api_version} {}", request.kind.kind)))?;
    let operation = match request.operation {
        admission::Operation::Create => Operation::Create,
        admission::Operation::Update => Operation::Update,
        admission::Operation::Delete => Operation::Delete,
        admission::Operation::Connect => return Err(ReviewError::Operation),
    };
    let value = |object: DynamicObject| -> Result<Value, ReviewError> {
        let mut object = serde_json::to_value(object).map_err(|error| wrong(&error))?;
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            if let Some(namespace) = &request.namespace {
                metadata
                    .entry("namespace")
                    .or_insert_with(|| namespace.as_str().into());
            }
        }
        Ok(object)
    };
    let object = request.object.map(&value).transpose()?;
    let old = request.old_object.map(&value).transpose()?;
    let (object, old) = match operation {
        Operation::Delete => (old, None),
        Operation::Create => (object, None),
        Operation::Update => (object, old),
    };
    let question = Question {
        step,
        about,
        operation,
        object: object.ok_or(ReviewError::NoObject)?,
        old,
        user: request.user_info.username.clone().unwrap_or_default(),
        user_info: serde_json::to_string(&request.user_info).map_err(|error| wrong(&error))?,
        dry_run: request.dry_run,
    };
    Ok(Asked { question, response })
}

/// Answers it. `before` is the question's object.
///
/// # Errors
///
/// When the changes can't be written as a patch.
pub fn answer(response: Response, before: &Value, decision: Decision) -> anyhow::Result<Vec<u8>> {
    let Response { step, response } = response;
    let response = match decision {
        Decision::Unasked => response,
        Decision::Asked(outcome) | Decision::Failed(outcome) => decided(step, response, before, &outcome)?,
    };
    Ok(serde_json::to_vec(&response.into_review())?)
}

/// An answer that nobody has filled in yet.
#[derive(Debug)]
pub struct Response {
    step: Step,
    response: AdmissionResponse,
}

impl Asked {
    /// The question, and what its answer will be written into.
    #[must_use]
    pub fn split(self) -> (Question, Response) {
        let response = Response {
            step: self.question.step,
            response: self.response,
        };
        (self.question, response)
    }
}

fn decided(
    step: Step,
    response: AdmissionResponse,
    before: &Value,
    outcome: &Outcome,
) -> anyhow::Result<AdmissionResponse> {
    let mut response = response;
    let notices = outcome.notices();
    if !notices.is_empty() {
        response.warnings = Some(notices);
    }
    if outcome.is_allowed() {
        // Who only checks may not change anything.
        if step == Step::Validate || *before == outcome.object {
            return Ok(response);
        }
        return Ok(response.with_patch(json_patch::diff(before, &outcome.object))?);
    }
    // What kubectl writes in brackets: Invalid, or Forbidden where a policy forbids it.
    let forbidden = outcome.refusals.iter().all(|said| !said.policy.is_empty());
    let (code, reason) = if forbidden {
        (403, "Forbidden")
    } else {
        (422, "Invalid")
    };
    let mut response = response.deny(outcome.refusal());
    response.result.code = code;
    response.result.reason = reason.to_owned();
    Ok(response)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn review(operation: &str, kind: &str) -> Value {
        let object = json!({"apiVersion": "kubernetes.dask.org/v1", "kind": kind,
            "metadata": {"name": "c", "managedFields": [{}]}, "spec": {"a": 1}});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u", "operation": operation, "namespace": "n", "name": "c", "userInfo": {"username": "me"},
            "kind": {"group": "kubernetes.dask.org", "version": "v1", "kind": kind},
            "resource": {"group": "kubernetes.dask.org", "version": "v1", "resource": "x"},
            "object": if operation == "DELETE" { Value::Null } else { object.clone() },
            "oldObject": if operation == "CREATE" { Value::Null } else { object },
        }})
    }

    #[rstest]
    #[case("CREATE", "create", false)]
    #[case("UPDATE", "update", true)]
    #[case("DELETE", "delete", false)]
    fn requests(#[case] operation: &str, #[case] name: &str, #[case] old: bool) {
        let body = review(operation, "DaskCluster").to_string();
        let Ok(asked) = read(Step::Validate, body.as_bytes()) else {
            panic!("not read");
        };
        let question = asked.question;
        assert_eq!(question.operation_name(), name);
        assert_eq!(question.old.is_some(), old);
        assert_eq!(
            question.object["metadata"],
            json!({"name": "c", "namespace": "n"})
        );
        assert_eq!(question.user, "me");
    }

    #[rstest]
    #[case(json!({}), "must be an AdmissionReview")]
    #[case(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}), "it has no `request`")]
    #[case(json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}), "it is admission.k8s.io/v1beta1")]
    #[case(review("CREATE", "Pod"), "not about kubernetes.dask.org/v1 Pod")]
    #[case(review("CONNECT", "DaskJob"), "not about CONNECT")]
    fn garbage(#[case] body: Value, #[case] expected: &str) {
        let error = read(Step::Mutate, body.to_string().as_bytes()).map_err(|error| error.to_string());
        assert!(
            error.as_ref().is_err_and(|error| error.contains(expected)),
            "{error:?}"
        );
    }

    fn answered(step: Step, change: impl FnOnce(&mut Outcome)) -> Value {
        let body = review("CREATE", "DaskCluster").to_string();
        let Ok(asked) = read(step, body.as_bytes()) else {
            panic!("not read");
        };
        let (question, response) = asked.split();
        let mut outcome = Outcome::new(question.object.clone());
        change(&mut outcome);
        let answer = answer(response, &question.object, Decision::Asked(outcome));
        let answer = answer
            .ok()
            .and_then(|answer| serde_json::from_slice(&answer).ok());
        let mut answer: Value = answer.unwrap_or_default();
        assert_eq!(answer["response"]["uid"], "u");
        answer["response"].take()
    }

    #[test]
    fn answers() {
        use dask_operator_render::admission::Said;

        let same = answered(Step::Mutate, |_| ());
        assert_eq!((&same["allowed"], &same["patch"]), (&json!(true), &Value::Null));
        let patched = answered(Step::Mutate, |outcome| outcome.object["spec"]["b"] = json!(2));
        let patch: Vec<u8> = serde_json::from_value(patched["patch"].clone()).unwrap_or_default();
        let patch: Value = serde_json::from_slice(&patch).unwrap_or_default();
        assert_eq!(patch, json!([{"op": "add", "path": "/spec/b", "value": 2}]));
        let checked = answered(Step::Validate, |outcome| outcome.object["spec"]["b"] = json!(2));
        assert_eq!(checked["patch"], Value::Null);
        let invalid = answered(Step::Mutate, |outcome| {
            outcome.refusals.push(Said::new("", "spec.a", "no"))
        });
        assert_eq!(invalid["allowed"], false);
        assert_eq!(invalid["status"]["message"], "spec.a: no");
        assert_eq!(invalid["status"]["reason"], "Invalid");
        let forbidden = answered(Step::Mutate, |outcome| {
            outcome.refusals.push(Said::new("p", "", "no"))
        });
        assert_eq!(forbidden["status"]["code"], 403);
        let warned = answered(Step::Mutate, |outcome| {
            outcome.warnings.push(Said::new("", "spec.a", "hm"))
        });
        assert_eq!(warned["warnings"], json!(["spec.a: hm"]));
    }
}
