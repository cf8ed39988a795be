//! Smoke test of a plugin: trial on samples, one small resource of each kind.

use std::sync::Arc;

use dask_operator_core::names::{COMPONENT_SCHEDULER, DASK_API_VERSION, LABEL_CLUSTER, LABEL_COMPONENT};
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::ResourceKind;
use dask_operator_evaluator::admission::check_patch;
use dask_operator_evaluator::logic::{LogicPlugin, PluginFailure};
use dask_operator_evaluator::plan::PlanError;
use dask_operator_evaluator::policy::PolicyPlugin;
use dask_operator_evaluator::review::{ReviewError, review};
use dask_operator_evaluator::{AllowedKinds, Evaluator, convert};
use dask_operator_runtime::contract::{
    self, AdmissionRequest, ChildAction, DesiredChild, Observation, ObservedKind, ObservedObject, Operation,
    SchedulerState, Verdict,
};
use serde_json::{Value, json};

use crate::plugins::error::{LoadFailure, LoadReason};

/// Name of the sample cluster.
const NAME: &str = "sample";

/// Name of its default worker group.
const GROUP: &str = "sample-default";

/// Time of the samples in milliseconds since 1970. It is fixed, so that trials are reproducible.
const NOW: i64 = 1_767_225_600_000;

fn pod(container: &str) -> Value {
    json!({"containers": [{"name": container, "image": "ghcr.io/dask/dask:2026.8.0", "args": [format!("dask-{container}")]}]})
}

fn service() -> Value {
    json!({
        "selector": {LABEL_CLUSTER: NAME, LABEL_COMPONENT: COMPONENT_SCHEDULER},
        "ports": [{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}],
    })
}

/// Returns the sample of a kind.
fn object(kind: DaskKind) -> Value {
    let cluster = json!({
        "scheduler": {"spec": pod("scheduler"), "service": service()},
        "worker": {"replicas": 2, "spec": pod("worker")},
    });
    let (name, spec) = match kind {
        DaskKind::Cluster => (NAME, cluster),
        DaskKind::WorkerGroup => (
            GROUP,
            json!({"cluster": NAME, "worker": {"replicas": 2, "spec": pod("worker")}}),
        ),
        DaskKind::Job => (
            NAME,
            json!({"job": {"spec": pod("worker")}, "cluster": {"spec": cluster}}),
        ),
        DaskKind::Autoscaler => (NAME, json!({"cluster": NAME, "minimum": 1, "maximum": 3})),
    };
    json!({
        "apiVersion": DASK_API_VERSION, "kind": kind.kind(), "spec": spec,
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("00000000-0000-0000-0000-{:012}", kind as u8),
            "generation": 1, "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"example.com/owner": "sample"},
        },
    })
}

/// Returns the sample of a kind as an object of an observation.
fn observed(kind: DaskKind) -> ObservedObject {
    ObservedObject::of(&object(kind))
}

fn failed(title: &str, failure: &PluginFailure) -> LoadFailure {
    LoadFailure::new(
        LoadReason::of_call(failure),
        format!("{title} failed when it was tried on a sample: {failure}"),
    )
}

/// Calls logic to default, validate and plan the sample of a kind. Findings about the sample don't matter: the trial succeeds if
/// the logic answers and the gate accepts the plan.
///
/// # Errors
///
/// Returns an error if a call fails, or if the gate refuses the plan.
pub(crate) fn try_logic(
    plugin: &Arc<LogicPlugin>,
    kind: DaskKind,
    allowed_kinds: &AllowedKinds,
) -> Result<(), LoadFailure> {
    let failed = |failure: PluginFailure| failed(&plugin.title, &failure);
    let logic = &plugin.logic;
    let sample = object(kind);
    let defaulted = logic
        .default(&sample.to_string(), &plugin.settings)
        .map_err(failed)?;
    let object = defaulted.unwrap_or_else(|_| sample.to_string());
    logic.validate(&object, None, &plugin.settings).map_err(failed)?;
    let related = match kind {
        DaskKind::Cluster | DaskKind::Job => Vec::new(),
        DaskKind::WorkerGroup => vec![observed(DaskKind::Cluster)],
        DaskKind::Autoscaler => vec![observed(DaskKind::Cluster), observed(DaskKind::WorkerGroup)],
    };
    let parent = Parent::from_object(&serde_json::from_str(&object).unwrap_or_default());
    let parent = parent.map_err(|error| {
        let message = format!("{} made no such resource of a sample: {error}", plugin.title);
        LoadFailure::new(LoadReason::SampleRefused, message)
    })?;
    let observed = |kind: &ResourceKind| ObservedKind {
        kind: convert::contract_kind(kind),
        objects: Vec::new(),
    };
    let observation = Observation {
        parent: object,
        children: plugin.child_kinds.iter().map(observed).collect(),
        related,
        scheduler: SchedulerState::NotAsked,
        now: NOW,
        seed: parent.seed(),
        settings: plugin.settings.clone(),
    };
    let evaluator = Evaluator {
        logic: plugin.clone(),
        policies: Vec::new(),
        allowed_kinds: allowed_kinds.clone(),
        strict: false,
    };
    match evaluator.plan(&parent, &observation, None) {
        Ok(_) | Err(PlanError::Invalid(_) | PlanError::GaveUp { .. }) => Ok(()),
        Err(PlanError::Call { failure, .. }) => Err(failed(failure)),
        Err(PlanError::Refused { refusal, .. }) => {
            let message = format!(
                "{} planned for a sample what no plugin may: {refusal}",
                plugin.title
            );
            Err(LoadFailure::new(LoadReason::SampleRefused, message))
        }
        Err(error @ (PlanError::TooLarge { .. } | PlanError::Review(_))) => {
            Err(LoadFailure::new(LoadReason::SampleRefused, error.to_string()))
        }
    }
}

/// Calls a policy for the sample of each kind, and for a review of children of the sample cluster.
pub(super) fn try_policy(policy: &Arc<PolicyPlugin>) -> Result<(), LoadFailure> {
    let failed = |failure: PluginFailure| failed(&policy.title, &failure);
    for sample in DaskKind::ALL {
        let object = object(sample);
        let request = AdmissionRequest {
            kind: convert::dask_kind(sample),
            operation: Operation::Create,
            object: object.to_string(),
            old: None,
            user_info: json!({"username": "sample", "uid": "", "groups": [], "extra": {}}).to_string(),
            dry_run: true,
            settings: policy.settings.clone(),
        };
        let answer = policy.rules.admit(&request).map_err(failed)?;
        if let Ok(Verdict::Patch(patch)) = answer.map(|response| response.verdict) {
            check_patch(&object, &patch).map_err(|problem| {
                let text = format!("{} patched a sample as no policy may: {problem}", policy.title);
                LoadFailure::new(LoadReason::SampleRefused, text)
            })?;
        }
    }
    let child = |kind: &str, name: &str, action: ChildAction| DesiredChild {
        key: contract::ChildKey {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        },
        action,
    };
    let planned = |component: &str, spec: Value| {
        json!({
            "metadata": {"labels": {LABEL_CLUSTER: NAME, LABEL_COMPONENT: component}}, "spec": spec,
        })
        .to_string()
    };
    let children = vec![
        child(
            "Pod",
            "sample-scheduler",
            ChildAction::Create(planned(COMPONENT_SCHEDULER, pod("scheduler"))),
        ),
        child(
            "Service",
            "sample-scheduler",
            ChildAction::Apply(planned(COMPONENT_SCHEDULER, service())),
        ),
        child("Pod", "sample-other", ChildAction::Keep),
    ];
    let parent = object(DaskKind::Cluster).to_string();
    match review(
        std::slice::from_ref(policy),
        DaskKind::Cluster,
        &parent,
        children,
        NOW,
    ) {
        Ok(_) | Err(ReviewError::Refused { .. } | ReviewError::Undecided { .. }) => Ok(()),
        Err(ReviewError::Failed { failure, .. }) => Err(failed(failure)),
        Err(error @ ReviewError::Overreached { .. }) => Err(LoadFailure::new(
            LoadReason::SampleRefused,
            format!("tried on a sample: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_evaluator::policy::{Mode, PolicyInterface};
    use dask_operator_runtime::contract::{AdmissionResponse, Review, ReviewRequest};

    use super::*;

    /// Rules that answer each admission request with this patch.
    struct Patches(Value);

    impl PolicyInterface for Patches {
        fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
            Ok(Ok(AdmissionResponse {
                verdict: Verdict::Patch(self.0.to_string()),
                warnings: Vec::new(),
            }))
        }

        fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
            Ok(Ok(Review::Allow))
        }
    }

    fn tried(patch: Value) -> Result<(), LoadFailure> {
        try_policy(&Arc::new(PolicyPlugin {
            title: "p".to_owned(),
            settings: "{}".to_owned(),
            mode: Mode::Monitor,
            rules: Box::new(Patches(patch)),
        }))
    }

    #[test]
    fn checks_the_patch_of_a_policy() {
        let label = json!([{"op": "add", "path": "/metadata/labels/a", "value": "b"}]);
        assert_eq!(tried(label), Ok(()));
        // Other resources may have what the sample lacks.
        let lacking = json!([{"op": "remove", "path": "/metadata/annotations/a"}]);
        assert_eq!(tried(lacking), Ok(()));
        let copy = json!([{"op": "copy", "from": "/spec", "path": "/metadata/annotations"}]);
        let failure = tried(copy).expect_err("it copies");
        assert_eq!(failure.reason, LoadReason::SampleRefused);
        assert!(
            failure
                .message
                .starts_with("p patched a sample as no policy may: operation 1 is a `copy`"),
            "{failure}"
        );
    }
}
