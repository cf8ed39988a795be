//! Benchmark of the cost of WebAssembly: compiles and loads components, and compares the
//! worker group's plan by a component with the same plan by native code.
//!
//! Run it with `cargo bench --workspace --bench calls`. The whole workspace is named so that
//! cargo does not rebuild crates with other features.

#![allow(clippy::print_stdout, reason = "the benchmark prints its results")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dask_operator_components::{ALL, Embedded, WORKER_GROUP};
use dask_operator_plugin::testing::capture_log;
use dask_operator_plugin::{WorkerGroup, contract as guest, export};
use dask_operator_runtime::contract::{Observation, ObservedKind, ObservedObject, SchedulerState};
use dask_operator_runtime::{Allocation, CallLimits, Component, Engine, EngineConfig, Interface};
use dask_operator_worker_group::DefaultWorkerGroup;
use serde_json::{Value, json};

/// Environment variable with the cache directory, set for the process that only loads the components.
const LOAD_ONLY: &str = "DASK_OPERATOR_BENCH_LOAD_ONLY";

fn main() {
    if let Some(cache) = std::env::var_os(LOAD_ONLY) {
        return load_only(Path::new(&cache));
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    print_times("compile, worker-group, 1 time", &compile());
    let engine = engine_of(Some(&cache), Allocation::OnDemand);
    load(&engine);
    print_times(
        "load from the cache, worker-group",
        &times(50, || drop(load(&engine))),
    );

    let on_demand = load(&engine);
    let pooling = load(&engine_of(Some(&cache), Allocation::default()));
    let smallest = |component: &Component| drop(component.child_kinds(Interface::WorkerGroup, "{}"));
    print_times(
        "smallest call, without a pool",
        &times(2_000, || smallest(&on_demand)),
    );
    print_times("smallest call", &times(2_000, || smallest(&pooling)));

    for (what, replicas, existing, count) in PLANS {
        let observation = observation(&on_demand, replicas, existing);
        let guest = converted(&observation);
        // The log is captured because the component's log lines are discarded, too.
        let (native, _) = capture_log(|| {
            times(count, || {
                black_box(plan_natively(&guest));
            })
        });
        let component = times(count, || {
            black_box(plan(&pooling, &observation));
        });
        let unpooled = times(count, || {
            black_box(plan(&on_demand, &observation));
        });
        println!("a plan that {what}");
        print_times("  natively", &native);
        print_times("  by the component", &component);
        print_times("  by the component, without a pool", &unpooled);
        println!(
            "  ratio of the medians {:.2}",
            component.median.as_secs_f64() / native.median.as_secs_f64()
        );
    }
    resident(&dir.path().join("another"));
}

/// Plans to measure: description, requested workers, existing workers, and number of measurements.
const PLANS: [(&str, u32, u32, usize); 4] = [
    ("creates 1 pod of 5 kB", 1, 0, 2_000),
    ("creates 10 pods", 10, 0, 500),
    ("creates 1,000 pods", 1_000, 0, 10),
    ("keeps 100 pods", 100, 100, 500),
];

/// Prints the memory of a process that has loaded all default components, first with an
/// empty cache and then from the cache.
fn resident(cache: &Path) {
    for what in ["compiled", "from the cache"] {
        let this = std::env::current_exe().expect("the path of this program");
        let output = Command::new(this)
            .env(LOAD_ONLY, cache)
            .output()
            .expect("this program runs");
        print!(
            "four components, {what}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

fn load_only(cache: &Path) {
    let started = Instant::now();
    let engine = engine_of(Some(cache), Allocation::OnDemand);
    let components: Vec<_> = ALL
        .iter()
        .map(|Embedded { name, bytes, sha256 }| {
            Component::load_known(&engine, name, bytes, (*sha256).into(), CallLimits::default())
                .expect("a default component")
        })
        .collect();
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let memory = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .unwrap_or_default()
            / 1024
    };
    println!(
        "{} MiB resident ({} MiB of it anonymous, {} MiB files), {:?}",
        memory("VmRSS:"),
        memory("RssAnon:"),
        memory("RssFile:"),
        started.elapsed()
    );
    drop(components);
}

fn engine_of(cache: Option<&Path>, allocation: Allocation) -> Engine {
    let cache = cache.map(|dir| dir.to_owned().into());
    Engine::new(EngineConfig {
        cache,
        allocation,
        ..EngineConfig::default()
    })
    .expect("an engine")
}

fn load(engine: &Engine) -> Component {
    Component::load(engine, "worker-group", WORKER_GROUP.bytes, CallLimits::default()).expect("the component")
}

fn compile() -> Times {
    let engine = engine_of(None, Allocation::OnDemand);
    times(1, || drop(load(&engine)))
}

fn plan(component: &Component, observation: &Observation) -> usize {
    let plan = component
        .plan(Interface::WorkerGroup, observation)
        .expect("an answer")
        .expect("a plan");
    plan.children.len()
}

fn plan_natively(observation: &guest::Observation) -> usize {
    export::plan::<WorkerGroup, DefaultWorkerGroup>(observation)
        .expect("a plan")
        .children
        .len()
}

/// Converts an observation from the host's type to the guest's.
fn converted<T: serde::de::DeserializeOwned>(observation: &Observation) -> T {
    let value = serde_json::to_value(observation).expect("JSON");
    serde_json::from_value(value).expect("the same record")
}

/// Returns an observation of a group with a pod spec of 5 kB, some of whose workers exist.
fn observation(component: &Component, replicas: u32, existing: u32) -> Observation {
    let group = json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {"name": "bench-default", "namespace": "default", "uid": "1"},
        "spec": {"cluster": "bench", "worker": {"replicas": replicas, "spec": pod_spec()}},
    });
    let cluster = json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "bench", "namespace": "default", "uid": "2"},
        "spec": {"worker": {"spec": {}}, "scheduler": {"spec": {}, "service": {}}},
    });
    let children = component
        .child_kinds(Interface::WorkerGroup, "{}")
        .expect("kinds")
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
    Observation {
        parent: group.to_string(),
        children,
        related: vec![ObservedObject::of(&cluster)],
        scheduler: SchedulerState::NotAsked,
        now: 1_700_000_000_000,
        seed: 42,
        settings: "{}".to_owned(),
    }
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
    let variables: Vec<_> = (0..60)
        .map(|n| json!({"name": format!("SETTING_NUMBER_{n}"), "value": format!("a value, the {n}th")}))
        .collect();
    let volumes: Vec<_> = (0..10)
        .map(|n| json!({"name": format!("data-{n}"), "configMap": {"name": format!("configuration-{n}")}}))
        .collect();
    let mounts: Vec<_> = (0..10)
        .map(
            |n| json!({"name": format!("data-{n}"), "mountPath": format!("/etc/data/{n}"), "readOnly": true}),
        )
        .collect();
    let spec = json!({
        "containers": [{
            "name": "worker",
            "image": "ghcr.io/dask/dask:latest",
            "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--dashboard", "--dashboard-address", "8788"],
            "env": variables,
            "ports": [{"name": "http-dashboard", "containerPort": 8788, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "4", "memory": "16Gi"}, "requests": {"cpu": "4", "memory": "16Gi"}},
            "volumeMounts": mounts,
        }],
        "volumes": volumes,
        "tolerations": [{"key": "dask", "operator": "Exists", "effect": "NoSchedule"}],
        "nodeSelector": {"pool": "workers"},
        "serviceAccountName": "dask",
    });
    let size = spec.to_string().len();
    assert!((4_500..5_500).contains(&size), "{size} bytes");
    spec
}

/// Measured times.
struct Times {
    median: Duration,
    p99: Duration,
}

fn times(count: usize, mut call: impl FnMut()) -> Times {
    for _ in 0..count / 10 {
        call();
    }
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let started = Instant::now();
            call();
            started.elapsed()
        })
        .collect();
    times.sort();
    Times {
        median: times[count / 2],
        p99: times[count * 99 / 100],
    }
}

fn print_times(what: &str, times: &Times) {
    println!(
        "{what:38} median {:>10.1?}   p99 {:>10.1?}",
        times.median, times.p99
    );
}
