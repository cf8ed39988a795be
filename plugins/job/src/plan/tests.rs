use dask_operator_plugin::testing::{Outcome, Scenario};

use super::*;

const STARTED: &str = "2026-01-01T00:00:10Z";
const FINISHED: &str = "2026-01-01T00:02:00Z";

fn job() -> Scenario {
    Scenario::of(
        "{metadata: {name: j, labels: {team: a}, annotations: {note: text}}, \
          spec: {job: {spec: {containers: [{name: job, image: i, args: [python]}]}}, \
                 cluster: {metadata: {labels: {team: b, cost: c}}, spec: {idleTimeout: 60, worker: {replicas: 2}}}}}",
    )
}

fn plan(scenario: &Scenario) -> Outcome {
    scenario.plan::<Job, DefaultJob>().expect("plan")
}

fn cluster() -> Value {
    json!({"apiVersion": kinds::DASK, "kind": "DaskCluster", "metadata": {"name": "j"}})
}

fn runner(status: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j-runner"}, "status": status})
}

fn running() -> Value {
    json!({"phase": "Running", "containerStatuses": [{"state": {"running": {"startedAt": STARTED}}}]})
}

fn over(phase: &str, code: i32) -> Value {
    json!({"phase": phase, "containerStatuses": [{"state": {"terminated": {
        "exitCode": code, "reason": "Error", "startedAt": STARTED, "finishedAt": FINISHED}}}]})
}

fn with(status: Value, pod: Value) -> Scenario {
    job().status(status).child(cluster()).child(runner(pod))
}

#[test]
fn a_new_job() {
    let plan = plan(&job());
    assert_eq!(plan.summary(), ["apply DaskCluster j", "create Pod j-runner"]);
    assert_eq!(plan.status(), json!({"jobStatus": "JobCreated"}));
    let cluster = plan.object("DaskCluster", "j").expect("cluster");
    assert_eq!(
        cluster["metadata"],
        json!({"labels": {"team": "b", "cost": "c", "dask.org/cluster-name": "j"}, "annotations": {"note": "text"}})
    );
    assert_eq!(
        (
            &cluster["spec"]["idleTimeout"],
            &cluster["spec"]["worker"]["replicas"]
        ),
        (&json!(60), &json!(2))
    );
    let runner = plan.object("Pod", "j-runner").expect("runner");
    assert_eq!(
        runner["metadata"]["labels"],
        json!({
            "team": "a", "dask.org/cluster-name": "j", "dask.org/component": "job-runner", "sidecar.istio.io/inject": "false",
        })
    );
    assert_eq!(
        runner["spec"]["containers"][0]["env"],
        json!([{"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://j-scheduler.default.svc:8786"}])
    );
    assert_eq!(runner["spec"]["restartPolicy"], "OnFailure");
    assert_eq!(plan.0.requeue_after, Some(LOOK_AGAIN));
}

#[test]
fn each_stage() {
    // before, the runner, after
    let names = json!({"clusterName": "j", "jobRunnerPodName": "j-runner"});
    let status = |stage: &str, times: &[(&str, &str)]| {
        let mut status = names.clone();
        status["jobStatus"] = json!(stage);
        for (field, time) in times {
            status[field] = json!(time);
        }
        status
    };
    let start = [("startTime", STARTED)];
    let both = [("startTime", STARTED), ("endTime", FINISHED)];
    let cases = [
        (Value::Null, json!({}), status("ClusterCreated", &[])),
        (
            json!({"jobStatus": ""}),
            json!({"phase": "Pending"}),
            status("ClusterCreated", &[]),
        ),
        (
            status("ClusterCreated", &[]),
            running(),
            status("Running", &start),
        ),
        // The runner was quick, or nobody looked.
        (
            json!({"jobStatus": "JobCreated"}),
            over("Succeeded", 0),
            status("Successful", &both),
        ),
        (
            status("Running", &start),
            over("Succeeded", 0),
            status("Successful", &both),
        ),
        (
            status("Running", &start),
            over("Failed", 1),
            status("Failed", &both),
        ),
        // A stage never goes back.
        (
            status("Running", &start),
            json!({"phase": "Pending"}),
            status("Running", &start),
        ),
        (
            status("Running", &start),
            json!({"phase": "Unknown"}),
            status("Running", &start),
        ),
    ];
    for (before, pod, after) in cases {
        let scenario = with(before.clone(), pod.clone());
        let plan = plan(&scenario);
        assert_eq!(plan.status(), after, "{before} {pod}");
        let end = plan.status()["endTime"].is_string();
        assert_eq!(
            plan.0.conditions.is_empty(),
            end,
            "a finished job has no conditions"
        );
        assert_eq!(
            plan.child("DaskCluster", "j").is_none(),
            end,
            "the cluster of a finished job goes"
        );
        assert!(
            plan.summary().contains(&"keep Pod j-runner".to_owned()),
            "the runner stays"
        );
        let again = self::plan(&scenario.status(plan.status()));
        assert_eq!(
            (again.status(), again.events()),
            (plan.status(), vec![]),
            "twice is the same"
        );
    }
}

#[test]
fn an_end_is_an_end() {
    let status = json!({"jobStatus": "Successful", "clusterName": "j", "jobRunnerPodName": "j-runner",
        "startTime": STARTED, "endTime": FINISHED, "conditions": [], "else": 1});
    let finished = job().status(status.clone());
    let gone = plan(&finished);
    assert_eq!(
        gone.summary(),
        [""; 0],
        "a runner that somebody deleted is not made again"
    );
    let mut expected = status;
    expected
        .as_object_mut()
        .expect("object")
        .retain(|field, _| field != "conditions" && field != "else");
    assert_eq!(gone.status(), expected);
    let broken = finished.change(|job| job["spec"] = json!({}));
    assert_eq!(plan(&broken).status(), expected);
}

#[test]
fn a_runner_that_vanished_after_it_ran_is_a_failure() {
    let status = json!({"jobStatus": "Running", "startTime": STARTED});
    let plan = plan(&job().child(cluster()).status(status).after(300_000));
    assert_eq!(plan.summary(), [""; 0]);
    assert_eq!(
        plan.status(),
        json!({
            "jobStatus": "Failed", "clusterName": "j", "jobRunnerPodName": "j-runner",
            "startTime": STARTED, "endTime": "2026-01-01T00:05:00Z",
        })
    );
    assert_eq!(
        plan.events(),
        [
            "JobFailed: the runner pod failed (RunnerLost: the runner pod was deleted or lost before it ended), the job's \
          cluster is deleted"
        ]
    );
}

#[test]
fn a_runner_that_vanished_before_it_ran_is_made_again() {
    let plan = plan(
        &job()
            .child(cluster())
            .status(json!({"jobStatus": "ClusterCreated"})),
    );
    assert_eq!(plan.summary(), ["apply DaskCluster j", "create Pod j-runner"]);
    assert_eq!(plan.status()["jobStatus"], "ClusterCreated");
}

#[test]
fn a_terminating_runner_keeps_its_place() {
    let mut pod = runner(json!({"phase": "Pending"}));
    pod["metadata"]["deletionTimestamp"] = json!(STARTED);
    let plan = plan(
        &job()
            .child(cluster())
            .child(pod)
            .status(json!({"jobStatus": "ClusterCreated"})),
    );
    assert_eq!(plan.summary(), ["apply DaskCluster j", "keep Pod j-runner"]);
    assert!(
        plan.condition(RUNNER_READY)
            .is_some_and(|text| text.contains("RunnerTerminating"))
    );
}

#[test]
fn why_the_runner_waits() {
    let pulling = json!({"phase": "Pending", "containerStatuses": [{"name": "job",
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]});
    assert_eq!(
        plan(&with(Value::Null, pulling))
            .condition(RUNNER_READY)
            .as_deref(),
        Some("False ImagePullBackOff: pod j-runner waits: container job: no such image")
    );
}

#[test]
fn a_plan_applied_to_its_own_result_changes_nothing() {
    let second = job().with(&plan(&job()));
    let third = second.clone().with(&plan(&second));
    assert_eq!(plan(&second).0.children, plan(&third).0.children);
    assert_eq!(
        plan(&third).summary(),
        ["apply DaskCluster j", "keep Pod j-runner"]
    );
}
