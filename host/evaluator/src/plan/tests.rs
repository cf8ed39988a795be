use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dask_operator_core::conditions::HostCondition;
use dask_operator_core::gate::Observed as _;
use dask_operator_core::plan::ResourceKind;
use dask_operator_runtime::contract::{
    self, AdmissionRequest, AdmissionResponse, Answer, ChildKey as ContractKey, Condition, ConditionStatus,
    Finding, ObservedKind, ObservedObject, Review, ReviewRequest, SchedulerFacts, SchedulerState,
    SchedulerWorker, Severity,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::AllowedKinds;
use crate::logic::{LogicInterface, LogicPlugin, PluginFailure, PluginOwner};
use crate::policy::{Mode, PolicyInterface, PolicyPlugin};
use crate::review::ReviewError;

/// Logic that returns this plan.
struct Fixed(fn() -> Result<Answer<Plan>, PluginFailure>);

impl LogicInterface for Fixed {
    fn child_kinds(&self, _: &str) -> Result<Vec<contract::ResourceKind>, PluginFailure> {
        Err("not called".into())
    }

    fn default(&self, _: &str, _: &str) -> Result<Answer<String>, PluginFailure> {
        Err("not called".into())
    }

    fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, PluginFailure> {
        Err("not called".into())
    }

    fn plan(&self, _: &Observation) -> Result<Answer<Plan>, PluginFailure> {
        (self.0)()
    }
}

/// Policy with this review, which counts its calls.
struct Reviews(fn(&ReviewRequest) -> Review, Arc<AtomicUsize>);

impl PolicyInterface for Reviews {
    fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        Err("not called".into())
    }

    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(Ok((self.0)(request)))
    }
}

fn child(kind: &str, name: &str, cluster: &str) -> DesiredChild {
    let object = json!({"metadata": {"labels": {"dask.org/cluster-name": cluster}}});
    DesiredChild {
        key: ContractKey {
            api_version: "v1".into(),
            kind: kind.into(),
            name: name.into(),
        },
        action: ChildAction::Create(object.to_string()),
    }
}

fn with(children: Vec<DesiredChild>) -> Result<Answer<Plan>, PluginFailure> {
    Ok(Ok(Plan {
        children,
        ..Plan::default()
    }))
}

fn one_pod() -> Result<Answer<Plan>, PluginFailure> {
    with(vec![child("Pod", "c-scheduler", "c")])
}

fn evaluator(plan: fn() -> Result<Answer<Plan>, PluginFailure>) -> Evaluator {
    Evaluator {
        logic: Arc::new(LogicPlugin {
            title: "logic".into(),
            settings: "{}".into(),
            child_kinds: ["Pod", "ConfigMap"]
                .map(|kind| ResourceKind::new("v1", kind))
                .into(),
            owner: PluginOwner::Administrator,
            logic: Arc::new(Fixed(plan)),
        }),
        policies: Vec::new(),
        allowed_kinds: AllowedKinds::default(),
        strict: false,
    }
}

/// Returns the evaluator with a policy, and the number of the policy's calls.
fn reviewed(
    plan: fn() -> Result<Answer<Plan>, PluginFailure>,
    mode: Mode,
    review: fn(&ReviewRequest) -> Review,
) -> (Evaluator, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let policy = PolicyPlugin {
        title: "policy".into(),
        settings: "{}".into(),
        mode,
        rules: Box::new(Reviews(review, calls.clone())),
    };
    let evaluator = Evaluator {
        policies: vec![Arc::new(policy)],
        ..evaluator(plan)
    };
    (evaluator, calls)
}

fn cluster() -> Value {
    json!({"apiVersion": DASK, "kind": "DaskCluster", "metadata": {"name": "c", "namespace": "n", "uid": "u"}})
}

const DASK: &str = "kubernetes.dask.org/v1";

fn observation(children: &[&str]) -> Observation {
    let pod = |name: &&str| object("v1", "Pod", name);
    Observation {
        parent: cluster().to_string(),
        children: vec![ObservedKind {
            kind: contract::ResourceKind {
                api_version: "v1".into(),
                kind: "Pod".into(),
            },
            objects: children.iter().map(pod).collect(),
        }],
        related: Vec::new(),
        scheduler: SchedulerState::NotAsked,
        now: 0,
        seed: 0,
        settings: "{}".into(),
    }
}

fn object(api_version: &str, kind: &str, name: &str) -> ObservedObject {
    ObservedObject {
        key: ContractKey {
            api_version: api_version.into(),
            kind: kind.into(),
            name: name.into(),
        },
        uid: format!("uid-{name}"),
        terminating: false,
        object: "{}".into(),
    }
}

fn planned(evaluator: &Evaluator, children: &[&str]) -> Result<EvaluatedPlan, PlanError> {
    let parent = Parent::from_object(&cluster()).expect("a parent");
    evaluator.plan(&parent, &observation(children), None)
}

fn trap() -> Result<Answer<Plan>, PluginFailure> {
    Err("it trapped".into())
}

fn invalid() -> Result<Answer<Plan>, PluginFailure> {
    Ok(Err(Error::Invalid(vec![Finding {
        severity: Severity::Error,
        field: "spec.size".into(),
        message: "write 12".into(),
    }])))
}

fn gave_up() -> Result<Answer<Plan>, PluginFailure> {
    Ok(Err(Error::Failed("there is no quorum".into())))
}

fn other_cluster() -> Result<Answer<Plan>, PluginFailure> {
    with(vec![child("Pod", "c-scheduler", "other")])
}

fn secret() -> Result<Answer<Plan>, PluginFailure> {
    with(vec![child("Secret", "s", "c")])
}

fn host_condition() -> Result<Answer<Plan>, PluginFailure> {
    Ok(Ok(Plan {
        conditions: vec![Condition {
            type_: HostCondition::PluginFailed.as_str().into(),
            status: ConditionStatus::True,
            reason: "Mine".into(),
            message: String::new(),
        }],
        ..Plan::default()
    }))
}

#[rstest]
#[case::trap(trap, "logic: it trapped")]
#[case::invalid(invalid, "spec.size: write 12")]
#[case::gave_up(gave_up, "logic: there is no quorum")]
#[case::label(
    other_cluster,
    "logic: Pod c-scheduler, metadata.labels[dask.org/cluster-name]: "
)]
#[case::undeclared(secret, "logic: Secret s, kind: ")]
#[case::host_condition(host_condition, "logic: plan, conditions")]
fn plans_are_refused_with_the_reason(
    #[case] plan: fn() -> Result<Answer<Plan>, PluginFailure>,
    #[case] expected: &str,
) {
    let error = planned(&evaluator(plan), &[])
        .map(drop)
        .map_err(|error| error.to_string());
    assert!(
        error.as_ref().is_err_and(|error| error.starts_with(expected)),
        "{error:?}"
    );
    // No policy is called for a plan that would be refused anyway.
    let (reviewed, calls) = reviewed(plan, Mode::Protect, |_| Review::Refuse(Vec::new()));
    let with_policy = planned(&reviewed, &[])
        .map(drop)
        .map_err(|error| error.to_string());
    assert_eq!(with_policy, error);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[test]
fn a_plan_that_passes_is_returned_in_both_forms() {
    let parent = Parent::from_object(&cluster()).expect("a parent");
    let mut inspected = Vec::new();
    let evaluated = evaluator(one_pod)
        .plan_and_inspect(&parent, &observation(&[]), None, |plan| {
            inspected.push(plan.clone())
        })
        .expect("a plan");
    assert_eq!(inspected.len(), 1);
    assert_eq!(inspected[0].children.len(), 1);
    assert_eq!(evaluated.checked.children[0].key.to_string(), "Pod c-scheduler");
    assert_eq!(evaluated.remarks, []);
}

#[rstest]
#[case::creates(&[], 1)]
#[case::creates_what_exists(&["c-scheduler"], 0)]
#[case::deletes(&["c-scheduler", "c-worker"], 1)]
fn policies_review_only_plans_that_write_something(#[case] children: &[&str], #[case] expected: usize) {
    let (evaluator, calls) = reviewed(one_pod, Mode::Protect, |_| Review::Allow);
    assert!(planned(&evaluator, children).is_ok());
    assert_eq!(calls.load(Ordering::Relaxed), expected);
}

#[test]
fn a_plan_is_inspected_as_the_policies_left_it() {
    let annotate = |request: &ReviewRequest| {
        let mut children = request.children.clone();
        if let ChildAction::Create(object) = &mut children[0].action {
            *object = object.replacen("{\"labels\"", "{\"annotations\":{\"a\":\"b\"},\"labels\"", 1);
        }
        Review::Change(children)
    };
    let (evaluator, _) = reviewed(one_pod, Mode::Protect, annotate);
    let parent = Parent::from_object(&cluster()).expect("a parent");
    let mut inspected = Vec::new();
    let evaluated = evaluator.plan_and_inspect(&parent, &observation(&[]), None, |plan| {
        if let ChildAction::Create(object) = &plan.children[0].action {
            inspected.push(object.contains("annotations"));
        }
    });
    assert_eq!(evaluated.expect("a plan").checked.children.len(), 1);
    assert_eq!(inspected, [false, true]);
}

#[test]
fn changes_of_policies_are_checked() {
    let relabel = |_: &ReviewRequest| Review::Change(vec![child("Pod", "c-scheduler", "other")]);
    let (evaluator, _) = reviewed(one_pod, Mode::Protect, relabel);
    let error = planned(&evaluator, &[])
        .map(drop)
        .map_err(|error| error.to_string());
    let expected = "logic, changed by policy: Pod c-scheduler, metadata.labels";
    assert!(
        error.as_ref().is_err_and(|error| error.starts_with(expected)),
        "{error:?}"
    );
}

#[test]
fn a_policy_in_monitor_mode_only_remarks() {
    let (evaluator, _) = reviewed(one_pod, Mode::Monitor, |_| Review::Refuse(Vec::new()));
    let evaluated = planned(&evaluator, &[]).expect("a plan");
    assert_eq!(evaluated.remarks.len(), 1);
    let (evaluator, _) = reviewed(one_pod, Mode::Protect, |_| Review::Refuse(Vec::new()));
    assert!(matches!(
        planned(&evaluator, &[]),
        Err(PlanError::Review(ReviewError::Refused { .. }))
    ));
}

#[test]
fn the_memory_of_a_plan_can_be_limited() {
    let parent = Parent::from_object(&cluster()).expect("a parent");
    let plan = |max| evaluator(one_pod).plan(&parent, &observation(&[]), Some(max));
    assert!(matches!(plan(10), Err(PlanError::TooLarge { bytes: 11.. })));
    assert!(plan(1 << 20).is_ok());
}

#[test]
fn kinds_that_the_administrator_allows_pass() {
    let plan = || with(vec![child("Gadget", "g", "c")]);
    let gadget = ResourceKind::new("v1", "Gadget");
    let of = |administrators: &[ResourceKind], tenants: &[ResourceKind], owner| {
        let mut evaluator = evaluator(plan);
        evaluator.allowed_kinds = AllowedKinds::new(administrators, tenants);
        let plugin = LogicPlugin {
            child_kinds: vec![gadget.clone()],
            owner,
            ..(*evaluator.logic).clone()
        };
        evaluator.logic = Arc::new(plugin);
        planned(&evaluator, &[]).is_ok()
    };
    let gadgets = std::slice::from_ref(&gadget);
    assert!(!of(&[], &[], PluginOwner::Administrator));
    assert!(of(gadgets, &[], PluginOwner::Administrator));
    assert!(!of(gadgets, &[], PluginOwner::Tenant));
    assert!(of(&[], gadgets, PluginOwner::Tenant));
}

#[test]
fn the_state_is_that_of_the_observation() {
    let mut observation = observation(&["c-scheduler"]);
    observation.related = vec![
        object(DASK, "DaskWorkerGroup", "c-default"),
        object(DASK, "DaskCluster", "c"),
        object("example.org/v1", "DaskCluster", "other"),
    ];
    observation.scheduler = SchedulerState::Facts(SchedulerFacts {
        workers: vec![SchedulerWorker {
            address: "tcp://1".into(),
            name: "1".into(),
            status: "running".into(),
            processing: 0,
            managed_bytes: 0,
            last_seen: 0,
        }],
        observed_at: 0,
        answers_since: 0,
        desired_workers: None,
        idle_since: None,
    });
    let state = ObservedState::of(&observation);
    let key = |name: &str| ChildKey {
        kind: ResourceKind::new("v1", "Pod"),
        name: name.into(),
    };
    assert!(state.has_child(&key("c-scheduler")) && !state.has_child(&key("c-worker")));
    assert!(state.has_worker_group("c-default") && !state.has_worker_group("c"));
    assert!(state.has_cluster("uid-c") && !state.has_cluster("uid-other"));
    assert_eq!(state.dask_workers(), HashSet::from(["tcp://1"]));
    assert_eq!(state.children().collect::<Vec<_>>(), [key("c-scheduler")]);
}
