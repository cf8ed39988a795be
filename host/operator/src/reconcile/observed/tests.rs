use dask_operator_core::gate::Observed as _;
use dask_operator_runtime::contract::SchedulerFacts;
use serde_json::{Value, json};

use super::*;
use crate::client::object::tests::object;
use crate::client::resource::ResourceType;

fn dask(kind: &str, name: &str, extra: Value) -> Object {
    let mut value = json!({
        "apiVersion": DASK_API_VERSION, "kind": kind,
        "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}")},
    });
    if let (Some(metadata), Some(extra)) = (value["metadata"].as_object_mut(), extra["metadata"].as_object())
    {
        metadata.extend(extra.clone());
    }
    value["spec"] = extra["spec"].clone();
    object(&value)
}

fn pod(name: &str, owner: &str, component: &str) -> Object {
    object(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "n", "uid": name,
            "labels": {"dask.org/cluster-name": "a", "dask.org/component": component},
            "ownerReferences": [{
                "apiVersion": DASK_API_VERSION, "kind": "DaskCluster", "name": "a", "uid": owner, "controller": true,
            }],
        },
    }))
}

fn world() -> Stores {
    let stores = Stores::new([ResourceType::of(ResourceKind::new("v1", "Pod"))]);
    let put = |object: Object| {
        let kind = ResourceKind::new(
            object.value()["apiVersion"].as_str().unwrap_or_default(),
            object.value()["kind"].as_str().unwrap_or_default(),
        );
        stores.of(&kind).map(|store| store.apply_event(object));
    };
    let owned = json!([{
        "apiVersion": DASK_API_VERSION, "kind": "DaskCluster", "name": "a", "uid": "uid-a", "controller": true,
    }]);
    put(dask("DaskCluster", "a", json!({})));
    put(dask("DaskCluster", "b", json!({})));
    put(dask(
        "DaskWorkerGroup",
        "a-default",
        json!({
            "metadata": {"labels": {"dask.org/cluster-name": "a"}, "ownerReferences": owned},
            "spec": {"cluster": "a"},
        }),
    ));
    put(dask(
        "DaskWorkerGroup",
        "a-more",
        json!({"metadata": {"ownerReferences": owned}, "spec": {"cluster": "a"}}),
    ));
    put(dask(
        "DaskWorkerGroup",
        "b-default",
        json!({"spec": {"cluster": "b"}}),
    ));
    put(dask("DaskAutoscaler", "a", json!({"spec": {"cluster": "a"}})));
    put(pod("a-scheduler", "uid-a", "scheduler"));
    put(pod("foreign", "uid-b", "worker"));
    stores
}

fn observed(kind: DaskKind, name: &str, kinds: &[ResourceKind]) -> (Observed, Parent) {
    let stores = world();
    let object = stores
        .parent(&ParentKey::new(kind, "n", name))
        .unwrap_or_else(|| panic!("no {name}"));
    let parent = Parent::from_object(&object.value()).unwrap_or_else(|error| panic!("{error}"));
    (Observed::new(&stores, object, &parent, kinds), parent)
}

fn related_names(kind: DaskKind, name: &str) -> Vec<String> {
    let (observed, _) = observed(kind, name, &[]);
    observed
        .related
        .iter()
        .map(|(kind, object)| format!("{} {}", kind.kind, object.name))
        .collect()
}

#[test]
fn every_declared_kind_is_observed_in_order() {
    let kinds = [
        ResourceKind::new("v1", "Service"),
        ResourceKind::new(DASK_API_VERSION, "DaskWorkerGroup"),
        ResourceKind::new("v1", "Pod"),
    ];
    let (observed, parent) = observed(DaskKind::Cluster, "a", &kinds);
    let observation = observed.observation(&parent, 7, "{}");
    let received: Vec<_> = observation
        .children
        .iter()
        .map(|kind| {
            (
                kind.kind.kind.as_str(),
                kind.objects
                    .iter()
                    .map(|o| o.key.name.as_str())
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        received,
        [
            ("Service", vec![]),
            ("DaskWorkerGroup", vec!["a-default"]),
            ("Pod", vec!["a-scheduler"])
        ]
    );
    assert_eq!((observation.now, observation.seed), (7, parent.seed()));
    assert!(observed.has_worker_group("a-more") && !observed.has_worker_group("b-default"));
}

#[test]
fn a_worker_group_observes_the_tainted_nodes_of_its_pods() {
    let stores = world();
    let mut worker = pod("w", "uid-a-more", "worker").value();
    worker["metadata"]["ownerReferences"][0]["kind"] = "DaskWorkerGroup".into();
    worker["metadata"]["ownerReferences"][0]["name"] = "a-more".into();
    worker["spec"]["nodeName"] = "spot-1".into();
    let pods = ResourceKind::new("v1", "Pod");
    stores.of(&pods).map(|store| store.apply_event(object(&worker)));
    let received = || {
        let group = ParentKey::new(DaskKind::WorkerGroup, "n", "a-more");
        let object = stores.parent(&group).unwrap_or_else(|| panic!("no group"));
        let parent = Parent::from_object(&object.value()).unwrap_or_else(|error| panic!("{error}"));
        let observed = Observed::new(&stores, object, &parent, std::slice::from_ref(&pods));
        let related = observed.observation(&parent, 0, "{}").related;
        related
            .into_iter()
            .map(|object| object.key.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(received(), ["a"]);
    stores.nodes().taint("spot-1", "going");
    stores.nodes().taint("spot-2", "going");
    assert_eq!(received(), ["a", "spot-1"]);
}

/// Returns a worker pod in a service mesh, on a network that describes itself in annotations, as a kubelet reports it.
fn large_pod() -> Value {
    let digest = "0123456789abcdef".repeat(4);
    let condition = |name: &str| {
        json!({
            "type": name, "status": "True", "observedGeneration": 1, "lastProbeTime": null,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let mounts: Vec<_> = (0..8)
        .map(|n| json!({"name": format!("volume-{n}"), "mountPath": format!("/var/run/volume/{n}"), "readOnly": true, "recursiveReadOnly": "Disabled"}))
        .collect();
    let container = |name: &str| {
        json!({
            "name": name, "ready": true, "started": true, "restartCount": 1, "image": format!("registry.example.com/team/{name}:1.2.3"),
            "imageID": format!("registry.example.com/team/{name}@sha256:{digest}"), "containerID": format!("containerd://{digest}"),
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            "lastState": {"terminated": {
                "exitCode": 137, "reason": "OOMKilled", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:00Z",
                "containerID": format!("containerd://{digest}"),
            }},
            "allocatedResources": {"cpu": "4", "memory": "16Gi"},
            "resources": {"limits": {"cpu": "4", "memory": "16Gi"}, "requests": {"cpu": "4", "memory": "16Gi"}},
            "volumeMounts": mounts, "user": {"linux": {"uid": 1000, "gid": 1000, "supplementalGroups": [1000]}},
        })
    };
    let mut pod = pod("simple-default-worker-0123456789", "uid-a", "worker").value();
    pod["metadata"]["annotations"] = json!({
        "kubernetes.dask.org/template-hash": digest, "k8s.v1.cni.cncf.io/network-status": "n".repeat(800),
        "sidecar.istio.io/status": "s".repeat(1000),
    });
    pod["metadata"]["managedFields"] = json!([
        {"manager": "dask-operator", "fieldsV1": {"f:metadata": {"f:labels": {"f:dask.org/cluster-name": {}}}}},
        {"manager": "kubelet", "fieldsV1": {"f:status": "f".repeat(5000)}},
    ]);
    pod["spec"] =
        json!({"nodeName": "node-1", "containers": [{"name": "worker", "env": "e".repeat(20_000)}]});
    pod["status"] = json!({
        "phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}], "hostIP": "10.1.0.7", "qosClass": "Guaranteed",
        "conditions": (["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition)),
        "containerStatuses": (["worker", "istio-proxy"].map(container)), "initContainerStatuses": (["istio-init", "istio-validation"].map(container)),
    });
    pod
}

#[test]
fn the_largest_worker_group_fits_into_an_observation() {
    let stores = world();
    let pods = ResourceKind::new("v1", "Pod");
    let kept = object(&large_pod());
    let bytes = kept.json.len();
    assert!(bytes > 8_000, "{bytes} bytes are too few for this test");
    assert!(
        20_000 * bytes < crate::reconcile::observe::MAX_OBSERVATION_BYTES,
        "{bytes} bytes"
    );
    let of_cluster = |stores: &Stores| {
        let cluster = ParentKey::new(DaskKind::Cluster, "n", "a");
        let object = stores.parent(&cluster).unwrap_or_else(|| panic!("no cluster"));
        let parent = Parent::from_object(&object.value()).unwrap_or_else(|error| panic!("{error}"));
        Observed::new(stores, object, &parent, std::slice::from_ref(&pods)).bytes()
    };
    let before = of_cluster(&stores);
    stores.of(&pods).map(|store| store.apply_event(kept));
    assert_eq!(of_cluster(&stores), before + bytes);
}

#[test]
fn the_size_of_scheduler_facts_is_estimated() {
    let (mut observed, _) = observed(DaskKind::Cluster, "a", &[]);
    assert_eq!(observed.scheduler_bytes(), 0);
    let worker = SchedulerWorker {
        address: "tcp://10.0.0.1:4000".into(),
        name: "w".into(),
        status: "running".into(),
        processing: 0,
        managed_bytes: 0,
        last_seen: 0,
    };
    observed.scheduler = SchedulerState::Facts(SchedulerFacts {
        observed_at: 0,
        answers_since: 0,
        workers: vec![worker; 1000],
        desired_workers: None,
        idle_since: None,
    });
    let bytes = observed.scheduler_bytes();
    assert!((100_000..1_000_000).contains(&bytes), "{bytes}");
}

#[test]
fn related_objects_are_those_of_the_contract() {
    assert_eq!(related_names(DaskKind::Cluster, "a"), ["DaskWorkerGroup a-more"]);
    assert_eq!(related_names(DaskKind::WorkerGroup, "a-more"), ["DaskCluster a"]);
    assert_eq!(
        related_names(DaskKind::Autoscaler, "a"),
        [
            "DaskCluster a",
            "DaskWorkerGroup a-default",
            "DaskWorkerGroup a-more",
            "Pod a-scheduler"
        ]
    );
}
