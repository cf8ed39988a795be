//! Tests of the phases of a job without retries.

use super::*;

#[test]
fn plans_the_children_of_a_new_job() {
    let first = plan(&job());
    assert_eq!(
        first.summary(),
        ["create Pod j-runner"],
        "workers must not use up a quota before the runner is created"
    );
    assert_eq!(first.status(), json!({"jobStatus": "JobCreated"}));
    let runner = first.object("Pod", "j-runner").expect("runner");
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
    assert_eq!(first.0.requeue_after, Some(RUNNER_RETRY));

    let second = plan(&job().with(&first));
    assert_eq!(second.summary(), ["keep Pod j-runner", "apply DaskCluster j"]);
    let cluster = second.object("DaskCluster", "j").expect("cluster");
    assert_eq!(
        cluster["metadata"],
        json!({"labels": {"team": "b", "cost": "c", "dask.org/cluster-name": "j"}, "annotations": {"note": "text", "kubernetes.dask.org/cluster-replicas": "2"}})
    );
    assert_eq!(
        (
            &cluster["spec"]["idleTimeout"],
            &cluster["spec"]["worker"]["replicas"]
        ),
        (&json!(60), &json!(2))
    );
    assert_eq!(second.0.scheduler, None, "no query is needed");
}

#[test]
fn follows_the_runner_through_all_phases() {
    let start = json!({"startTime": STARTED});
    let both = json!({"startTime": STARTED, "endTime": FINISHED});
    // Previous phase, runner, new phase, times.
    let cases = [
        ("", json!({}), "ClusterCreated", json!({})),
        ("", json!({"phase": "Pending"}), "ClusterCreated", json!({})),
        ("ClusterCreated", running(), "Running", start.clone()),
        // The runner ended between two plans.
        (
            "JobCreated",
            ended_pod("Succeeded", 0),
            "Successful",
            both.clone(),
        ),
        ("Running", ended_pod("Succeeded", 0), "Successful", both.clone()),
        ("Running", ended_pod("Failed", 1), "Failed", both),
        // The phase never moves back.
        ("Running", json!({"phase": "Pending"}), "Running", start.clone()),
        ("Running", json!({"phase": "Unknown"}), "Running", start),
    ];
    for (before, pod, after, times) in cases {
        let mut status = json!({"jobStatus": before});
        if before == "Running" {
            status["startTime"] = json!(STARTED);
        }
        let scenario = with(status, pod.clone());
        let first = plan(&scenario);
        let mut expected = times;
        expected["jobStatus"] = json!(after);
        expected["clusterName"] = json!("j");
        expected["jobRunnerPodName"] = json!("j-runner");
        let is_end = expected["endTime"].is_string();
        if !is_end {
            expected["attempts"] = json!({"former": 0, "runner": "u", "ofRunner": 1});
        }
        assert_eq!(first.status(), expected, "{before} {pod}");
        assert_eq!(
            first.0.conditions.is_empty(),
            is_end,
            "an ended job has no conditions"
        );
        assert!(
            first.summary().contains(&"keep Pod j-runner".to_owned()),
            "the runner stays"
        );
        let again = plan(&scenario.status(first.status()));
        assert_eq!(
            (again.status(), again.events()),
            (first.status(), vec![]),
            "a repeated plan changes nothing"
        );
        assert_eq!(
            again.child("DaskCluster", "j").is_none(),
            is_end,
            "the cluster of an ended job is deleted"
        );
    }
}

#[test]
fn a_runner_lost_after_its_start_is_a_failure() {
    let of_dask_kubernetes = json!({"jobStatus": "Running", "startTime": STARTED});
    for status in [of_dask_kubernetes, has_run()] {
        let plan = plan(&job().child(cluster()).status(status).after(300_000));
        assert_eq!(plan.summary(), ["keep DaskCluster j"], "its end is written first");
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
                "JobFailed: the runner pod failed (RunnerLost: the runner pod was deleted or lost before it ended), \
                 the job's cluster is deleted"
            ]
        );
    }
}

#[test]
fn a_runner_lost_before_its_start_is_created_again() {
    let seen =
        json!({"jobStatus": "ClusterCreated", "attempts": {"former": 0, "runner": "u", "ofRunner": 1}});
    for status in [json!({"jobStatus": "ClusterCreated"}), seen] {
        let plan = plan(&job().child(cluster()).status(status));
        assert_eq!(plan.summary(), ["create Pod j-runner", "apply DaskCluster j"]);
        assert_eq!(plan.status()["jobStatus"], "ClusterCreated");
    }
}

#[test]
fn waits_for_a_terminating_runner() {
    let status = json!({"jobStatus": "ClusterCreated"});
    let pod = terminating(runner(json!({"phase": "Pending"})));
    let plan = plan(&job().child(cluster()).child(pod).status(status));
    assert_eq!(plan.summary(), ["keep Pod j-runner", "apply DaskCluster j"]);
    assert!(
        plan.condition("RunnerReady")
            .is_some_and(|text| text.contains("RunnerTerminating"))
    );
}

/// A lost node does not report that its pods are gone.
#[test]
fn reports_a_runner_whose_deletion_is_stuck() {
    let mut going = runner(running());
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z");
    going["spec"] = json!({"nodeName": "n1"});
    let mut has_begun_anew = has_run();
    has_begun_anew["attempts"] = json!({"former": 1, "told": 1});
    for (status, again) in [(has_run(), None), (has_begun_anew, Some(RUNNER_RETRY))] {
        let scenario = job().status(status).child(cluster()).child(going.clone());
        let before = plan(&scenario.clone().after(149_000));
        assert_eq!(
            before.condition("RunnerReady").as_deref(),
            Some(
                "False RunnerTerminating: pod j-runner is on its way out, to be gone at 2026-01-01T00:00:30Z"
            )
        );
        assert_eq!((before.events(), before.0.requeue_after), (vec![], Some(1000)));
        let scenario = scenario.after(150_000);
        let stuck = plan(&scenario);
        let message = "pod j-runner was to be gone at 2026-01-01T00:00:30Z, and node n1 does not say that it is: if that is lost, \
                       `kubectl delete pod j-runner --force --grace-period=0`; the job goes on then and not before, because its \
                       code might run twice otherwise";
        assert_eq!(
            stuck.condition("RunnerReady"),
            Some(format!("False RunnerStuck: {message}"))
        );
        assert_eq!(
            (stuck.events(), stuck.0.requeue_after),
            (vec![format!("RunnerStuck: {message}")], again)
        );
        assert_eq!(
            stuck.summary(),
            ["keep Pod j-runner", "apply DaskCluster j"],
            "no second runner is created"
        );
        assert_eq!(
            plan(&scenario.with(&stuck)).events(),
            [""; 0],
            "it is reported once"
        );
    }
}

#[test]
fn reports_the_reason_why_the_runner_waits() {
    let pulling = json!({"phase": "Pending", "containerStatuses": [{"name": "job",
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]});
    assert_eq!(
        plan(&with(Value::Null, pulling))
            .condition("RunnerReady")
            .as_deref(),
        Some("False ImagePullBackOff: pod j-runner waits: container job: no such image")
    );
}

#[test]
fn a_repeated_plan_changes_nothing() {
    let second = job().with(&plan(&job()));
    let third = second.clone().with(&plan(&second));
    let fourth = third.clone().with(&plan(&third));
    assert_eq!(plan(&third).0.children, plan(&fourth).0.children);
    assert_eq!(
        plan(&fourth).summary(),
        ["keep Pod j-runner", "apply DaskCluster j"]
    );
}

#[test]
fn restarts_are_unlimited_without_a_backoff_limit() {
    let crashing = json!({"phase": "Running", "containerStatuses": [{"restartCount": 40,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}]});
    let plan = plan(&with(has_run(), crashing));
    assert_eq!(
        plan.status()["jobStatus"],
        "Running",
        "OnFailure restarts without a limit"
    );
    assert_eq!(plan.summary()[0], "keep Pod j-runner");
}

#[test]
fn reports_mistakes_in_a_condition() {
    let always = job().change(|job| job["spec"]["job"]["spec"]["restartPolicy"] = json!("Always"));
    let suspended = always.clone().change(|job| job["spec"]["suspend"] = json!(true));
    for scenario in [always, suspended] {
        let condition = plan(&scenario).condition("SpecQuestionable").expect("condition");
        let beginning =
            "True Mistakes: spec.job.spec.restartPolicy: a runner that is always restarted never ends";
        assert!(condition.starts_with(beginning), "{condition}");
    }
    assert_eq!(plan(&job()).condition("SpecQuestionable"), None);
}
