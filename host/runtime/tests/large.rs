//! Test of the default component with the largest supported worker group, scaled down: the number of pods and the memory are
//! a tenth of those in operation.

use std::time::Duration;

use dask_operator_components::WORKER_GROUP;
use dask_operator_runtime::contract::{Observation, ObservedKind, ObservedObject, SchedulerState};
use dask_operator_runtime::{CallLimits, Component, Engine, EngineConfig, Interface};
use serde_json::json;

/// Number of pods, a tenth of the maximum of a group.
const PODS: usize = 2_000;

/// Returns a worker pod with a proxy sidecar. Its object has 10 kB, of which a component needs less than half.
fn worker(number: usize) -> ObservedObject {
    let name = format!("large-default-worker-{number:010x}");
    let container = |name: &str| {
        json!({
            "name": name, "ready": true, "restartCount": 0, "image": "registry.example.com/dask:1", "imageID": "i".repeat(3_500),
            "state": {"running": {"startedAt": "2026-01-01T00:00:02Z"}},
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "node-7"},
        "metadata": {
            "name": name, "namespace": "n", "uid": format!("uid-of-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                "dask.org/cluster-name": "large", "dask.org/workergroup-name": "large-default", "dask.org/component": "worker",
            },
            "annotations": {"example.com/notes": "n".repeat(2_000)},
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.7", "startTime": "2026-01-01T00:00:01Z",
            "conditions": (["Initialized", "PodScheduled", "ContainersReady", "Ready"].map(|condition| {
                json!({"type": condition, "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z"})
            })),
            "containerStatuses": (["worker", "proxy"].map(container)),
        },
    });
    let observed = ObservedObject::of(&pod);
    let bytes = observed.object.len();
    assert!((9_500..11_000).contains(&bytes), "{bytes} bytes");
    observed
}

#[test]
fn plans_a_tenth_of_the_largest_group_in_a_tenth_of_the_memory() {
    let engine = Engine::new(EngineConfig::default()).expect("an engine");
    let limits = CallLimits {
        memory: CallLimits::default().memory / 10,
        // The long deadline allows for a busy machine.
        deadline: Duration::from_secs(60),
        ..CallLimits::default()
    };
    let component =
        Component::load(&engine, "worker-group", WORKER_GROUP.bytes, limits).expect("the component");
    let group = json!({
        "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup",
        "metadata": {"name": "large-default", "namespace": "n", "uid": "1"},
        "spec": {"cluster": "large", "worker": {"replicas": PODS, "spec": {"containers": [{"name": "worker", "image": "i:1"}]}}},
    });
    let cluster = json!({
        "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "metadata": {"name": "large", "namespace": "n", "uid": "2"},
        "spec": {"worker": {"spec": {}}, "scheduler": {"spec": {}, "service": {}}},
    });
    let kinds = component
        .child_kinds(Interface::WorkerGroup, "{}")
        .expect("kinds");
    let children = kinds.into_iter().map(|kind| {
        let pods = if kind.kind == "Pod" { PODS } else { 0 };
        ObservedKind {
            kind,
            objects: (0..pods).map(worker).collect(),
        }
    });
    let observation = Observation {
        parent: group.to_string(),
        children: children.collect(),
        related: vec![ObservedObject::of(&cluster)],
        scheduler: SchedulerState::NotAsked,
        now: 1_767_300_000_000,
        seed: 42,
        settings: "{}".to_owned(),
    };
    let plan = component
        .plan(Interface::WorkerGroup, &observation)
        .unwrap_or_else(|error| panic!("{error}"))
        .expect("a plan");
    assert!(plan.children.len() >= PODS, "{} children", plan.children.len());
}
