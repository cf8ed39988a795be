//! Properties of defaulting and plans that hold for every resource in every state.

use std::collections::HashSet;

use dask_operator_cluster::DefaultCluster;
use dask_operator_golden_tests::files;
use dask_operator_job::DefaultJob;
use dask_operator_plugin::contract::{ChildAction, Plan};
use dask_operator_plugin::dask::{kinds, time};
use dask_operator_plugin::testing::{Outcome, START, Scenario};
use dask_operator_plugin::{Cluster, Job, Logic, WorkerGroup, export};
use dask_operator_render::documents;
use dask_operator_worker_group::DefaultWorkerGroup;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Returns all resources of the golden manifests.
fn resources() -> Vec<Value> {
    let (documents, errors) = documents::read(&files::folder("manifests"), &mut std::io::empty());
    assert!(errors.is_empty(), "{errors:?}");
    documents
        .into_iter()
        .map(|document| document.object)
        .filter(|object| object["kind"].is_string() && object["metadata"].is_object())
        .collect()
}

/// Returns the object with defaults, and asserts that a second call changes nothing.
fn defaulted<I, P: Logic<I>>(object: &Value) -> Value {
    let once = export::default::<I, P>(&object.to_string(), "{}").expect("defaulted");
    let twice = export::default::<I, P>(&once, "{}").expect("defaulted");
    assert_eq!(once, twice, "defaulting twice changes something");
    serde_json::from_str(&once).expect("JSON")
}

/// Asserts that no two children have the same key.
fn assert_distinct(plan: &Plan) {
    let mut keys = HashSet::new();
    for child in &plan.children {
        assert!(
            keys.insert((&child.key.kind, &child.key.name)),
            "{:?} occurs twice",
            child.key
        );
    }
}

/// Asserts that plans settle: after four rounds, no child is created and the next plan is the same.
fn assert_settles<I, P: Logic<I>>(mut scenario: Scenario) {
    for _ in 0..4 {
        let Ok(plan) = scenario.plan::<I, P>() else { return };
        assert_distinct(&plan.0);
        scenario = scenario.with(&plan);
    }
    let plan = scenario.plan::<I, P>().expect("a plan as before");
    let created = plan
        .0
        .children
        .iter()
        .filter(|child| matches!(child.action, ChildAction::Create(_) | ChildAction::Copy(_)));
    assert_eq!(created.count(), 0, "{:?}", plan.summary());
    let again = scenario.with(&plan).plan::<I, P>().expect("a plan as before");
    assert_eq!(plan.0.children, again.0.children);
    assert_eq!(plan.status(), again.status());
    assert_eq!(again.0.events, []);
}

#[test]
fn defaulting_twice_changes_nothing_and_plans_settle() {
    for object in resources() {
        match object["kind"].as_str() {
            Some("DaskCluster") => {
                assert_settles::<Cluster, DefaultCluster>(Scenario::of_value(defaulted::<
                    Cluster,
                    DefaultCluster,
                >(&object)))
            }
            Some("DaskJob") => {
                assert_settles::<Job, DefaultJob>(Scenario::of_value(defaulted::<Job, DefaultJob>(&object)))
            }
            Some("DaskWorkerGroup") => {
                let group = defaulted::<WorkerGroup, DefaultWorkerGroup>(&object);
                let name = group["spec"]["cluster"].as_str().unwrap_or_default().to_owned();
                assert_settles::<WorkerGroup, DefaultWorkerGroup>(
                    Scenario::of_value(group).related(cluster(&name)),
                );
            }
            _ => {}
        }
    }
}

#[test]
fn defaulting_documented_manifests_changes_nothing() {
    for object in resources() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match (object["kind"].as_str(), name) {
            (Some("DaskCluster"), "simple") => {
                assert_eq!(defaulted::<Cluster, DefaultCluster>(&object), object)
            }
            (Some("DaskWorkerGroup"), "simple-highmem") => {
                assert_eq!(defaulted::<WorkerGroup, DefaultWorkerGroup>(&object), object);
            }
            (Some("DaskJob"), "simple-job") => {
                let mut expected = object.clone();
                // The default of the custom resource definition.
                expected["spec"]["job"]["spec"]["restartPolicy"] = json!("OnFailure");
                assert_eq!(defaulted::<Job, DefaultJob>(&object), expected);
            }
            _ => {}
        }
    }
}

fn cluster(name: &str) -> Value {
    json!({"apiVersion": kinds::DASK_API_VERSION, "kind": "DaskCluster", "metadata": {"name": name}, "spec": {}})
}

/// State of an existing worker.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    New,
    Pulling,
    Running,
    Crashing,
    Lost,
    Terminating,
    Deployment,
}

const STATES: [State; 7] = [
    State::New,
    State::Pulling,
    State::Running,
    State::Crashing,
    State::Lost,
    State::Terminating,
    State::Deployment,
];

fn worker(number: usize, state: State) -> Value {
    let waiting = |reason: &str, restarts: u32| json!({"phase": "Pending", "containerStatuses": [{"restartCount": restarts, "state": {"waiting": {"reason": reason}}}]});
    let status = match state {
        State::New | State::Terminating => json!({"phase": "Pending"}),
        State::Pulling => waiting("ImagePullBackOff", 0),
        State::Crashing => waiting("CrashLoopBackOff", 2),
        State::Running => json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
        State::Lost => json!({"phase": "Failed", "reason": "Evicted"}),
        State::Deployment => json!({"readyReplicas": 1}),
    };
    let created = START + i64::try_from(number).unwrap_or(0) * 1000;
    let mut metadata = json!({
        "name": format!("g-worker-{number:010x}"), "creationTimestamp": time::format(created),
        "labels": {
            "dask.org/cluster-name": "c", "dask.org/component": "worker", "dask.org/workergroup-name": "g",
            "sidecar.istio.io/inject": "false",
        },
    });
    if state == State::Terminating {
        metadata["deletionTimestamp"] = json!(time::format(START));
    }
    let (api_version, kind) = if state == State::Deployment {
        ("apps/v1", "Deployment")
    } else {
        ("v1", "Pod")
    };
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "status": status})
}

fn plan(replicas: usize, states: &[State], seed: u64, batch: u32) -> Outcome {
    let group =
        json!({"metadata": {"name": "g"}, "spec": {"cluster": "c", "worker": {"replicas": replicas}}});
    let scenario = Scenario::of_value(group)
        .related(cluster("c"))
        .seed(seed)
        .settings(&json!({"batchSize": batch}));
    let workers = states
        .iter()
        .enumerate()
        .map(|(number, state)| worker(number, *state));
    workers
        .fold(scenario.after(3_600_000), Scenario::child)
        .plan::<WorkerGroup, DefaultWorkerGroup>()
        .expect("a plan")
}

proptest! {
    #[test]
    fn group_plans_keep_their_invariants(
        replicas in 0..40_usize,
        states in prop::collection::vec(prop::sample::select(&STATES[..]), 0..30),
        seed in any::<u64>(),
        batch in 0..10_u32,
    ) {
        let outcome = plan(replicas, &states, seed, batch);
        assert_distinct(&outcome.0);
        prop_assert_eq!(&plan(replicas, &states, seed, batch), &outcome, "plans are deterministic");

        let kept: HashSet<&str> = outcome.0.children.iter()
            .filter(|child| child.action == ChildAction::Keep)
            .map(|child| child.key.name.as_str())
            .collect();
        let created = outcome.0.children.len() - kept.len();
        let count = |wanted: &[State]| states.iter().filter(|state| wanted.contains(state)).count();
        let lost = count(&[State::Lost]);
        let counting = states.len() - lost - count(&[State::Terminating]);

        // Creates no more workers than desired, and no more at once than the batch size.
        prop_assert!(created == 0 || counting + lost + created <= replicas);
        let missing = replicas.saturating_sub(counting + lost);
        let expected = if batch == 0 { missing } else { missing.min(batch as usize) };
        prop_assert_eq!(created, expected);
        // Keeps every worker that may hold results, and removes every lost worker.
        for (number, state) in states.iter().enumerate() {
            let is_kept = kept.contains(format!("g-worker-{number:010x}").as_str());
            match state {
                State::Running | State::Crashing | State::Deployment | State::Terminating => prop_assert!(is_kept),
                State::Lost => prop_assert!(!is_kept),
                State::New | State::Pulling => prop_assert!(is_kept || counting > replicas),
            }
        }
        // Removes as many surplus workers as possible, and no more.
        let harmless = count(&[State::New, State::Pulling]);
        let gone = states.len() - lost - kept.len();
        prop_assert_eq!(gone, counting.saturating_sub(replicas).min(harmless));
    }
}
