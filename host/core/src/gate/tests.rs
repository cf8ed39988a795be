use std::cell::Cell;

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::names::DASK_API_VERSION;
use crate::plan::{ConditionStatus, EventType, SchedulerQuestion};

mod bounds;
mod copies;

fn parent(kind: DaskKind) -> Parent {
    Parent {
        kind,
        name: "a".into(),
        namespace: "n".into(),
        uid: "u".into(),
        cluster: "a".into(),
    }
}

fn declared() -> Vec<ResourceKind> {
    vec![
        ResourceKind::new("v1", "Pod"),
        ResourceKind::new("v1", "Service"),
        ResourceKind::new(DASK_API_VERSION, "DaskWorkerGroup"),
    ]
}

fn key(kind: &str, name: &str) -> ChildKey {
    ChildKey {
        kind: ResourceKind::new("v1", kind),
        name: name.into(),
    }
}

fn child(kind: &str, name: &str, object: Value) -> DesiredChild {
    DesiredChild {
        key: key(kind, name),
        action: Action::Apply(object.to_string()),
    }
}

/// An object without violations.
fn valid_object() -> Value {
    json!({"metadata": {"labels": {"dask.org/cluster-name": "a"}}})
}

fn plan(children: Vec<DesiredChild>) -> Plan {
    Plan {
        children,
        status: "{}".into(),
        ..Plan::default()
    }
}

/// An observed state with the pod `kept`, the worker group `a-default`, one Dask worker, and a cluster with the uid `u`.
struct TestState;

impl Observed for TestState {
    fn has_child(&self, key: &ChildKey) -> bool {
        key.kind.kind == "Pod" && key.name == "kept"
    }

    fn has_worker_group(&self, name: &str) -> bool {
        name == "a-default"
    }

    fn dask_workers(&self) -> HashSet<&str> {
        HashSet::from(["tcp://10.0.0.1:1"])
    }

    fn has_cluster(&self, uid: &str) -> bool {
        uid == "u"
    }
}

/// Checks a plan with small limits and returns the texts of the violations; empty if the plan passes.
fn violations(kind: DaskKind, plan: Plan) -> Vec<String> {
    let declared = declared();
    let rules = Rules {
        host_conditions: &["PluginFailed"],
        limits: Limits {
            children: 3,
            object_bytes: 600,
            plan_bytes: 1000,
            tree_bytes: 20_000,
            status_bytes: 30,
            conditions: 2,
            condition_bytes: 50_000,
        },
        ..Rules::new(&declared)
    };
    match check(&parent(kind), &rules, &TestState, plan) {
        Ok(_) => Vec::new(),
        Err(refusal) => refusal.violations.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_valid_plan_passes_unchanged() {
    let mut plan = plan(vec![
        DesiredChild {
            key: key("Pod", "kept"),
            action: Action::Keep,
        },
        DesiredChild {
            key: key("Pod", "new"),
            action: Action::Create(valid_object().to_string()),
        },
        child("Service", "a-scheduler", valid_object()),
    ]);
    plan.status = r#"{"phase":"Created"}"#.into();
    plan.scale = vec![Scale {
        worker_group: "a-default".into(),
        replicas: 3,
    }];
    let declared = declared();
    let checked = check(
        &parent(DaskKind::Cluster),
        &Rules::new(&declared),
        &TestState,
        plan,
    );
    let checked = checked.map(|plan| {
        (
            plan.children.len(),
            plan.status["phase"].clone(),
            plan.scale.len(),
        )
    });
    assert_eq!(checked, Ok((3, json!("Created"), 1)));
}

#[rstest]
#[case::not_allowed(
    DesiredChild {
        key: ChildKey { kind: ResourceKind::new("rbac.authorization.k8s.io/v1", "Role"), name: "r".into() },
        action: Action::Apply(valid_object().to_string()),
    },
    "Role r, kind: rbac.authorization.k8s.io/v1 Role is no kind for a child of a DaskCluster; allowed are v1 Pod"
)]
#[case::not_declared(
    child("ConfigMap", "c", valid_object()),
    "ConfigMap c, kind: v1 ConfigMap is not declared; return it from `child-kinds`"
)]
#[case::name(
    child("Pod", "A_b", valid_object()),
    "Pod A_b, metadata.name: \"A_b\" is no name: write at most 253"
)]
#[case::service_name(
    child("Service", "a.b", valid_object()),
    "\"a.b\" is no name for a Service: write at most 63"
)]
#[case::kept_but_absent(
    DesiredChild { key: key("Pod", "gone"), action: Action::Keep },
    "Pod gone: can't be kept: it was not in the observation; use `create` or `apply`"
)]
#[case::no_json(
    DesiredChild { key: key("Pod", "p"), action: Action::Create("{".into()) },
    "Pod p: is no JSON: EOF"
)]
#[case::no_object(child("Pod", "p", json!([])), "Pod p: is no JSON object")]
#[case::too_big(child("Pod", "p", json!({"x": "y".repeat(600)})), "bytes of JSON; at most 600 are allowed")]
#[case::other_name(
    child("Pod", "p", json!({"metadata": {"name": "q", "labels": {"dask.org/cluster-name": "a"}}})),
    "Pod p, metadata.name: is \"q\"; leave it out or write \"p\""
)]
#[case::other_namespace(
    child("Pod", "p", json!({"metadata": {"namespace": "kube-system", "labels": {"dask.org/cluster-name": "a"}}})),
    "Pod p, metadata.namespace: is \"kube-system\"; leave it out or write \"n\""
)]
#[case::owner(
    child("Pod", "p", json!({"metadata": {"ownerReferences": [], "labels": {"dask.org/cluster-name": "a"}}})),
    "Pod p, metadata.ownerReferences: the host sets the owner; leave it out"
)]
#[case::finalizer(
    child("Pod", "p", json!({"metadata": {"finalizers": ["x"], "labels": {"dask.org/cluster-name": "a"}}})),
    "Pod p, metadata.finalizers: no controller would remove them"
)]
#[case::generate_name(
    child("Pod", "p", json!({"metadata": {"generateName": "x-", "labels": {"dask.org/cluster-name": "a"}}})),
    "Pod p, metadata.generateName: only labels and annotations can be set; leave it out"
)]
#[case::status(
    child("Pod", "p", json!({"status": {}, "metadata": {"labels": {"dask.org/cluster-name": "a"}}})),
    "Pod p, status: belongs to the child's own controller; leave it out"
)]
#[case::no_label(
    child("Pod", "p", json!({})),
    "Pod p, metadata.labels[dask.org/cluster-name]: is missing; write \"a\", the cluster's name"
)]
#[case::other_label(
    child("Pod", "p", json!({"metadata": {"labels": {"dask.org/cluster-name": "b"}}})),
    "Pod p, metadata.labels[dask.org/cluster-name]: is \"b\"; write \"a\", the cluster's name"
)]
#[case::label_number(
    child("Pod", "p", json!({"metadata": {"labels": {"dask.org/cluster-name": "a", "x": 1}}})),
    "Pod p, metadata.labels[x]: is 1; write a string"
)]
fn refuses_an_invalid_child(#[case] child: DesiredChild, #[case] message: &str) {
    let violations = violations(DaskKind::Cluster, plan(vec![child]));
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].contains(message), "{violations:?}");
}

#[rstest]
#[case::status(Plan { status: "[]".into(), ..Plan::default() }, "plan, status: is no JSON object")]
#[case::large_status(
    Plan { status: format!(r#"{{"x":"{}"}}"#, "y".repeat(30)), ..Plan::default() },
    "plan, status: 38 bytes of JSON; at most 30 are allowed"
)]
#[case::empty_status(Plan::default(), "plan, status: is no JSON (EOF")]
#[case::conditions_in_status(
    Plan { status: r#"{"conditions":[]}"#.into(), ..Plan::default() },
    "plan, status.conditions: return them in `conditions` of the plan"
)]
#[case::foreign_group(
    Plan { scale: vec![Scale { worker_group: "b".into(), replicas: 1 }], ..plan(vec![]) },
    "plan, scale[b]: there is no such worker group of cluster a"
)]
#[case::owner(
    Plan {
        owner: Some(Owner { kind: ResourceKind::new("v1", "Pod"), name: "a".into(), uid: "u".into() }),
        ..plan(vec![])
    },
    "plan, owner: a DaskCluster is not owned by a plan; leave it out"
)]
#[case::event(
    Plan {
        events: vec![Event { type_: EventType::Normal, reason: "two words".into(), message: String::new() }],
        ..plan(vec![])
    },
    "plan, events[0].reason: \"two words\" is no word; write a reason such as Scaled"
)]
#[case::many(
    plan((0..4).map(|i| child("Pod", &format!("p{i}"), json!({}))).collect()),
    "plan, children: has 4; at most 3 are allowed"
)]
#[case::large(
    plan((0..2).map(|i| child("Pod", &format!("p{i}"), json!({"x": "y".repeat(500)}))).collect()),
    "plan, children: 1016 bytes of JSON; at most 1000 are allowed"
)]
fn refuses_an_invalid_plan(#[case] plan: Plan, #[case] message: &str) {
    let violations = violations(DaskKind::Cluster, plan);
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].contains(message), "{violations:?}");
}

#[rstest]
#[case::type_("not ready", "Why", "conditions[not ready]: is no word")]
#[case::reason("Ready", "", "conditions[Ready].reason: \"\" is no word; write a reason")]
#[case::host(
    "PluginFailed",
    "Why",
    "conditions[PluginFailed]: is a condition that the host writes"
)]
fn refuses_an_invalid_condition(#[case] type_: &str, #[case] reason: &str, #[case] message: &str) {
    let condition = DesiredCondition {
        type_: type_.into(),
        status: ConditionStatus::True,
        reason: reason.into(),
        message: String::new(),
    };
    let violations = violations(
        DaskKind::Cluster,
        Plan {
            conditions: vec![condition],
            ..plan(vec![])
        },
    );
    assert!(
        violations.len() == 1 && violations[0].contains(message),
        "{violations:?}"
    );
}

#[test]
fn a_refusal_contains_all_violations() {
    let two = vec![
        child("Pod", "p", json!({})),
        child("Pod", "p", json!({"metadata": {"uid": "x"}})),
    ];
    let violations = violations(
        DaskKind::Cluster,
        Plan {
            status: "1".into(),
            ..plan(two)
        },
    );
    assert_eq!(violations.len(), 5, "{violations:?}");
    assert!(
        violations
            .iter()
            .any(|text| text.contains("stands in the plan twice")),
        "{violations:?}"
    );
}

#[test]
fn an_autoscaler_has_no_children() {
    let violations = violations(
        DaskKind::Autoscaler,
        plan(vec![child("Pod", "p", valid_object())]),
    );
    assert_eq!(violations, ["Pod p, kind: a DaskAutoscaler has no children"]);
}

#[test]
fn the_worker_group_label_must_be_the_name_of_the_group() {
    let object =
        json!({"metadata": {"labels": {"dask.org/cluster-name": "a", "dask.org/workergroup-name": "b"}}});
    let violations = violations(DaskKind::WorkerGroup, plan(vec![child("Pod", "p", object)]));
    let expected =
        "Pod p, metadata.labels[dask.org/workergroup-name]: is \"b\"; write \"a\", the worker group's name";
    assert_eq!(violations, [expected]);
}

#[test]
fn a_group_can_only_be_owned_by_its_cluster() {
    let owned_by = |name: &str, uid: &str| {
        let kind = ResourceKind::new(DASK_API_VERSION, "DaskCluster");
        let owner = Some(Owner {
            kind,
            name: name.into(),
            uid: uid.into(),
        });
        violations(
            DaskKind::WorkerGroup,
            Plan {
                owner,
                ..plan(vec![])
            },
        )
    };
    assert!(owned_by("a", "u").is_empty());
    assert!(owned_by("b", "u")[0].contains("only the DaskCluster a can own it"));
    for other in ["", "of another"] {
        let violations = owned_by("a", other);
        assert!(
            violations[0].contains("is not the uid of DaskCluster a in the observation"),
            "{violations:?}"
        );
    }
}

#[test]
fn the_text_of_a_refusal_has_a_limited_number_of_violations() {
    let violation = Violation {
        child: None,
        field: String::new(),
        message: "m".into(),
    };
    let refusal = Refusal {
        violations: vec![violation; 12],
        more: 3,
    };
    assert!(refusal.to_string().ends_with("plan: m; and 5 more"), "{refusal}");
}

fn request(retire: &[&str]) -> SchedulerRequest {
    SchedulerRequest {
        questions: vec![SchedulerQuestion::Workers],
        period: 1000,
        target_duration: None,
        tls: false,
        retire: retire.iter().map(|address| (*address).to_owned()).collect(),
    }
}

#[rstest]
#[case(DaskKind::WorkerGroup, request(&["tcp://10.0.0.1:1"]), &[])]
#[case(DaskKind::Cluster, request(&[]), &[])]
#[case(DaskKind::WorkerGroup, request(&["tcp://10.0.0.9:1"]), &["scheduler.retire[tcp://10.0.0.9:1]"])]
#[case(DaskKind::Autoscaler, request(&["tcp://10.0.0.1:1"]), &["scheduler.retire"])]
#[case(DaskKind::WorkerGroup, SchedulerRequest { questions: vec![], ..request(&[]) }, &["scheduler.questions"])]
fn only_observed_workers_can_be_retired(
    #[case] kind: DaskKind,
    #[case] request: SchedulerRequest,
    #[case] expected: &[&str],
) {
    let declared = declared();
    let plan = Plan {
        scheduler: Some(request),
        ..plan(vec![])
    };
    let fields = match check(&parent(kind), &Rules::new(&declared), &TestState, plan) {
        Ok(_) => Vec::new(),
        Err(refusal) => refusal
            .violations
            .into_iter()
            .map(|violation| violation.field)
            .collect(),
    };
    assert_eq!(fields, expected);
}

/// An observed state equal to [`TestState`] that counts the calls of `dask_workers`.
struct Counting(Cell<usize>);

impl Observed for Counting {
    fn has_child(&self, key: &ChildKey) -> bool {
        TestState.has_child(key)
    }

    fn has_worker_group(&self, name: &str) -> bool {
        TestState.has_worker_group(name)
    }

    fn dask_workers(&self) -> HashSet<&str> {
        self.0.set(self.0.get() + 1);
        TestState.dask_workers()
    }

    fn has_cluster(&self, uid: &str) -> bool {
        TestState.has_cluster(uid)
    }
}

/// A group that is deleted can retire thousands of workers at once.
#[rstest]
#[case::many(&["tcp://10.0.0.1:1", "tcp://10.0.0.1:1", "tcp://10.0.0.1:1"], 1)]
#[case::none(&[], 0)]
fn all_workers_to_retire_take_one_lookup(#[case] retire: &[&str], #[case] expected: usize) {
    let mut plan = plan(Vec::new());
    plan.scheduler = Some(SchedulerRequest {
        questions: vec![SchedulerQuestion::Workers],
        ..request(retire)
    });
    let (declared, counting) = (declared(), Counting(Cell::new(0)));
    let checked = check(
        &parent(DaskKind::WorkerGroup),
        &Rules::new(&declared),
        &counting,
        plan,
    );
    assert_eq!((checked.is_ok(), counting.0.get()), (true, expected));
}
