//! Tests of complete plans.

mod basics;
mod disruption;
mod drain;
mod rollout;
mod simulation;

use dask_operator_plugin::WorkerGroup;
use dask_operator_plugin::dask::conditions::{ScaleDownBlocked, WorkersReady, WorkersUpToDate};
use dask_operator_plugin::dask::{kinds, metadata, time};
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::testing::{Outcome, START, Scenario, answer, worker};

use crate::DefaultWorkerGroup;
use crate::plan::CLUSTER_RETRY;

fn cluster() -> Value {
    json!({
        "apiVersion": kinds::DASK_API_VERSION, "kind": "DaskCluster",
        "metadata": {"name": "simple", "labels": {"team": "cluster", "from": "cluster"}},
        "spec": {},
    })
}

fn group(replicas: u32) -> Scenario {
    let group = json!({
        "metadata": {"name": "simple-default", "generation": 4, "labels": {"team": "group"}},
        "spec": {"cluster": "simple", "worker": {"replicas": replicas}},
    });
    Scenario::of_value(group).related(cluster())
}

/// Returns a worker of [`group`] as it was created, without its spec.
fn pod(name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "status": status,
        "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels()},
    })
}

/// Returns the labels of workers of [`group`].
fn labels() -> Value {
    json!({
        "team": "group", "from": "cluster", "sidecar.istio.io/inject": "false",
        "dask.org/cluster-name": "simple", "dask.org/component": "worker", "dask.org/workergroup-name": "simple-default",
    })
}

fn running() -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
}

fn pending() -> Value {
    json!({"phase": "Pending"})
}

/// Returns a running pod that was marked as retiring this many milliseconds after the start.
fn marked(name: &str, after: i64) -> Value {
    let mut pod = pod(name, running());
    pod["metadata"]["annotations"] =
        json!({metadata::ANNOTATION_RETIRING_SINCE: time::format_exactly(START + after)});
    pod
}

/// Returns the scheduler's facts at a time: names of workers, their numbers of tasks, and their bytes of results.
fn facts(after: i64, workers: &[(&str, u32, u64)]) -> SchedulerFacts {
    let worker = |(name, processing, managed_bytes): &(&str, u32, u64)| SchedulerWorker {
        processing: *processing,
        managed_bytes: *managed_bytes,
        last_seen: START + after,
        ..worker(*name, format!("tcp://{name}:1"))
    };
    answer(START + after, workers.iter().map(worker).collect())
}

fn plan(scenario: &Scenario) -> Outcome {
    scenario.plan::<WorkerGroup, DefaultWorkerGroup>().expect("plan")
}

fn count(plan: &Outcome, action: &str) -> usize {
    plan.summary()
        .iter()
        .filter(|line| line.starts_with(action))
        .count()
}

/// Returns the names of the children with this action.
fn with_action(plan: &Outcome, action: &str) -> Vec<String> {
    let summary = plan.summary();
    let names = summary
        .iter()
        .filter_map(|line| line.strip_prefix(action)?.split(' ').next_back());
    names.map(str::to_owned).collect()
}

/// Returns the workers that the scheduler must retire. `None` if it is not queried.
fn retired(plan: &Outcome) -> Option<Vec<String>> {
    plan.0.scheduler.as_ref().map(|request| request.retire.clone())
}
