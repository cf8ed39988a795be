use dask_operator_plugin::testing::{Outcome, START, Scenario, answer, worker};

use super::*;

mod end;
mod idle;
mod phase;
mod retries;
mod scale;
mod suspension;
mod workers;

const STARTED: &str = "2026-01-01T00:00:10Z";
const FINISHED: &str = "2026-01-01T00:02:00Z";

fn job() -> Scenario {
    Scenario::of(
        "{metadata: {name: j, labels: {team: a}, annotations: {note: text}, creationTimestamp: '2026-01-01T00:00:00Z'}, \
          spec: {job: {spec: {containers: [{name: job, image: i, args: [python]}]}}, \
                 cluster: {metadata: {labels: {team: b, cost: c}}, spec: {idleTimeout: 60, worker: {replicas: 2}}}}}",
    )
}

/// Returns a job with these additional fields in its spec.
fn job_with(fields: &Value) -> Scenario {
    job().change(|job| {
        for (name, value) in fields.as_object().expect("object") {
            job["spec"][name] = value.clone();
        }
    })
}

fn plan(scenario: &Scenario) -> Outcome {
    scenario.plan::<Job, DefaultJob>().expect("plan")
}

fn cluster() -> Value {
    json!({"apiVersion": kinds::DASK_API_VERSION, "kind": "DaskCluster", "metadata": {"name": "j"}})
}

fn runner(status: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j-runner", "uid": "u"}, "status": status})
}

fn running() -> Value {
    json!({"phase": "Running", "containerStatuses": [{"name": "job", "restartCount": 0, "state": {"running": {"startedAt": STARTED}}}]})
}

fn ended_pod(phase: &str, code: i32) -> Value {
    json!({"phase": phase, "containerStatuses": [{"name": "job", "restartCount": 0, "state": {"terminated": {
        "exitCode": code, "reason": "Error", "startedAt": STARTED, "finishedAt": FINISHED}}}]})
}

fn terminating(mut object: Value) -> Value {
    object["metadata"]["deletionTimestamp"] = json!(STARTED);
    object
}

fn with(status: Value, pod: Value) -> Scenario {
    job().status(status).child(cluster()).child(runner(pod))
}

/// Returns the status of a job whose runner with the UID `u` runs.
fn has_run() -> Value {
    json!({
        "jobStatus": "Running", "clusterName": "j", "jobRunnerPodName": "j-runner", "startTime": STARTED,
        "attempts": {"former": 0, "runner": "u", "ofRunner": 1},
    })
}
