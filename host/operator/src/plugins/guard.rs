//! Watches over a plugin that is in force: one that fails again and again is told of.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use dask_operator_render::logic::{Failure, Logic};
use dask_operator_render::policy::Rules;
use dask_operator_runtime::CallError;
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, Plan, ResourceKind, Review,
    ReviewRequest,
};
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

use super::PluginId;

/// So many failures in a row about different objects are a plugin's fault, and not an
/// object's.
const OBJECTS: usize = 3;

/// And so many about whatever objects, when there is no success in between.
const FAILURES: usize = 8;

/// A plugin that fails again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failing {
    /// Which one.
    pub(super) id: PluginId,
    /// The digest of its code.
    pub(super) digest: String,
    /// What happened last.
    pub(super) message: String,
}

/// Counts the failures of one plugin.
#[derive(Debug)]
pub(super) struct Guard {
    id: PluginId,
    digest: String,
    tell: UnboundedSender<Failing>,
    row: Mutex<Row>,
}

/// Failures without a success in between.
#[derive(Debug, Default)]
struct Row {
    failures: usize,
    objects: HashSet<u64>,
    told: bool,
}

impl Guard {
    /// Tells when the plugin with code of this digest fails again and again.
    pub(super) fn new(id: PluginId, digest: String, tell: UnboundedSender<Failing>) -> Arc<Self> {
        Arc::new(Self {
            id,
            digest,
            tell,
            row: Mutex::default(),
        })
    }

    /// Notes how a call about `object` (JSON) went. What a plugin refuses or can't decide is no failure.
    fn note<T>(&self, object: &str, answer: Result<T, Failure>) -> Result<T, Failure> {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            Ok(_) => *row = Row::default(),
            Err(failure) if failure.is::<CallError>() => {
                row.failures += 1;
                row.objects.insert(place(object));
                let hopeless = row.objects.len() >= OBJECTS || row.failures >= FAILURES;
                if hopeless && !std::mem::replace(&mut row.told, true) {
                    // Nobody listens any more when the operator ends.
                    let _ = self.tell.send(Failing {
                        id: self.id.clone(),
                        digest: self.digest.clone(),
                        message: failure.to_string(),
                    });
                }
            }
            Err(_) => {}
        }
        answer
    }
}

/// What tells one object from another: its kind, namespace and name.
fn place(object: &str) -> u64 {
    #[derive(Default, Deserialize, Hash)]
    #[serde(default)]
    struct Object {
        kind: String,
        metadata: Metadata,
    }
    #[derive(Default, Deserialize, Hash)]
    #[serde(default)]
    struct Metadata {
        namespace: String,
        name: String,
    }
    let object: Object = serde_json::from_str(object).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    object.hash(&mut hasher);
    hasher.finish()
}

/// Somebody who is watched over.
pub(super) struct Guarded<T> {
    /// Who is asked.
    pub(super) inner: T,
    /// Who watches.
    pub(super) guard: Arc<Guard>,
}

impl<T: Logic> Logic for Guarded<T> {
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, Failure> {
        self.inner.child_kinds(settings)
    }

    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, Failure> {
        self.guard.note(object, self.inner.default(object, settings))
    }

    fn validate(&self, object: &str, old: Option<&str>, settings: &str) -> Result<Vec<Finding>, Failure> {
        self.guard
            .note(object, self.inner.validate(object, old, settings))
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, Failure> {
        self.guard.note(&observation.parent, self.inner.plan(observation))
    }
}

impl<T: Rules> Rules for Guarded<T> {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, Failure> {
        self.guard.note(&request.object, self.inner.admit(request))
    }

    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, Failure> {
        self.guard.note(&request.parent, self.inner.review_plan(request))
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_runtime::{Digest, Failure as What};
    use rstest::rstest;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    fn trap() -> Failure {
        Box::new(CallError {
            component: "c".into(),
            digest: Digest::of(b""),
            interface: "cluster",
            function: "plan",
            failure: Box::new(What::Missing),
        })
    }

    /// Calls: the object's name, and how it goes: `+`, `-` (trap) or `?` (another error).
    #[rstest]
    #[case::one_object("a- a- a- a-", 0)]
    #[case::one_object_for_long("a- a- a- a- a- a- a- a- a- a-", 1)]
    #[case::three_objects("a- b- c- d-", 1)]
    #[case::others_go_well("a- b- x+ c- a- x+ b- c-", 0)]
    #[case::no_traps("a? b? c? d?", 0)]
    #[case::again_after_success("a- b- c- a+ a- b- c-", 2)]
    fn what_fails_in_a_row_is_told(#[case] calls: &str, #[case] told: usize) {
        let (tell, mut heard) = unbounded_channel();
        let id = PluginId {
            namespace: None,
            name: "p".into(),
        };
        let guard = Guard::new(id, "sha256:1".into(), tell);
        for call in calls.split(' ') {
            let (name, how) = call.split_at(1);
            let object =
                format!(r#"{{"kind": "DaskCluster", "metadata": {{"name": "{name}"}}, "status": {{}}}}"#);
            let answer = match how {
                "+" => Ok(()),
                "-" => Err(trap()),
                _ => Err("something else".into()),
            };
            let _ = guard.note(&object, answer);
        }
        let mut count = 0;
        while heard.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, told);
    }
}
