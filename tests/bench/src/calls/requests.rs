//! Requests to components: observations of a worker group, and requests to a policy.

use anyhow::{Result, ensure};
use dask_operator_runtime::contract::{
    AdmissionRequest, Observation, ObservedKind, ObservedObject, Operation, Plan, ResourceKind,
    ReviewRequest, SchedulerState,
};
use dask_operator_runtime::{Component, Interface};
use serde_json::{Value, json};

use crate::manifests;

/// Time of all requests, in milliseconds since 1970.
const NOW: i64 = 1_700_000_000_000;

/// Returns an observation of a worker group with a pod of about 5 kB, some of whose workers exist.
pub(super) fn observation(component: &Component, replicas: u32, existing: u32) -> Result<Observation> {
    let group = json!({
        "apiVersion": manifests::API_VERSION,
        "kind": "DaskWorkerGroup",
        "metadata": {"name": "bench-default", "namespace": "default", "uid": "1"},
        "spec": {"cluster": "bench", "worker": {"replicas": replicas, "spec": pod_spec()}},
    });
    let children = component
        .child_kinds(Interface::WorkerGroup, "{}")?
        .into_iter()
        .map(|kind| ObservedKind {
            objects: if kind.kind == "Pod" {
                (0..existing).map(worker).collect()
            } else {
                Vec::new()
            },
            kind,
        })
        .collect();
    let size = group.to_string().len();
    ensure!((4_500..5_500).contains(&size), "the group has {size} bytes");
    Ok(Observation {
        parent: group.to_string(),
        children,
        related: vec![ObservedObject::of(&cluster())],
        scheduler: SchedulerState::NotAsked,
        now: NOW,
        seed: 42,
        settings: "{}".to_owned(),
    })
}

/// Returns the request to admit a new cluster of about 5 kB.
pub(super) fn admission() -> AdmissionRequest {
    let user =
        json!({"username": "kubernetes-admin", "groups": ["kubeadm:cluster-admins", "system:authenticated"]});
    AdmissionRequest {
        kind: kind("DaskCluster"),
        operation: Operation::Create,
        object: cluster().to_string(),
        old: None,
        user_info: user.to_string(),
        dry_run: false,
        settings: "{}".to_owned(),
    }
}

/// Returns the request to review the plan of a worker group.
pub(super) fn review(observation: &Observation, plan: Plan) -> ReviewRequest {
    ReviewRequest {
        parent_kind: kind("DaskWorkerGroup"),
        parent: observation.parent.clone(),
        children: plan.children,
        now: NOW,
        settings: "{}".to_owned(),
    }
}

fn kind(kind: &str) -> ResourceKind {
    ResourceKind {
        api_version: manifests::API_VERSION.to_owned(),
        kind: kind.to_owned(),
    }
}

/// Returns a cluster whose worker has a spec of about 5 kB.
fn cluster() -> Value {
    let mut cluster = manifests::cluster("bench", 3);
    cluster["metadata"]["namespace"] = json!("default");
    cluster["metadata"]["uid"] = json!("2");
    cluster["spec"]["worker"]["spec"] = pod_spec();
    cluster
}

/// Returns a running worker as a component receives it: metadata and status.
fn worker(number: u32) -> ObservedObject {
    let name = format!("bench-default-worker-{number:010x}");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": format!("uid-of-{name}"),
            "creationTimestamp": "2025-01-01T00:00:00Z",
            "labels": {
                "dask.org/cluster-name": "bench",
                "dask.org/workergroup-name": "bench-default",
                "dask.org/component": "worker",
                "sidecar.istio.io/inject": "false",
            },
        },
        "spec": {"nodeName": "node-7"},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.7",
            "startTime": "2025-01-01T00:00:01Z",
            "conditions": (["Initialized", "PodScheduled", "ContainersReady", "Ready"].map(|condition| {
                json!({"type": condition, "status": "True", "lastTransitionTime": "2025-01-01T00:00:02Z"})
            })),
            "containerStatuses": [{
                "name": "worker",
                "ready": true,
                "restartCount": 0,
                "image": "ghcr.io/dask/dask:latest",
                "state": {"running": {"startedAt": "2025-01-01T00:00:02Z"}},
            }],
        },
    });
    ObservedObject::of(&pod)
}

/// Returns a typical pod spec of about 5 kB.
fn pod_spec() -> Value {
    let variable = |n| json!({"name": format!("SETTING_NUMBER_{n}"), "value": format!("a value, the {n}th")});
    let volume =
        |n| json!({"name": format!("data-{n}"), "configMap": {"name": format!("configuration-{n}")}});
    let mount =
        |n| json!({"name": format!("data-{n}"), "mountPath": format!("/etc/data/{n}"), "readOnly": true});
    json!({
        "containers": [{
            "name": "worker",
            "image": "ghcr.io/dask/dask:latest",
            "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--dashboard", "--dashboard-address", "8788"],
            "env": (0..60).map(variable).collect::<Vec<_>>(),
            "ports": [{"name": "http-dashboard", "containerPort": 8788, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "4", "memory": "16Gi"}, "requests": {"cpu": "4", "memory": "16Gi"}},
            "volumeMounts": (0..10).map(mount).collect::<Vec<_>>(),
        }],
        "volumes": (0..10).map(volume).collect::<Vec<_>>(),
        "tolerations": [{"key": "dask", "operator": "Exists", "effect": "NoSchedule"}],
        "nodeSelector": {"pool": "workers"},
        "serviceAccountName": "dask",
    })
}
