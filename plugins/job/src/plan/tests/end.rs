//! Tests of jobs that have ended.

use super::*;

fn finished(phase: &str) -> Value {
    json!({"jobStatus": phase, "clusterName": "j", "jobRunnerPodName": "j-runner",
        "startTime": STARTED, "endTime": FINISHED})
}

#[test]
fn the_end_is_final() {
    let mut dirty = finished("Successful");
    dirty["conditions"] = json!([]);
    dirty["else"] = json!(1);
    let scenario = job().status(dirty);
    let gone = plan(&scenario);
    assert_eq!(gone.summary(), [""; 0], "a deleted runner is not created again");
    assert_eq!(gone.status(), finished("Successful"));
    let broken = scenario.change(|job| job["spec"] = json!({}));
    assert_eq!(plan(&broken).status(), finished("Successful"));
}

#[test]
fn detects_the_end_with_an_invalid_spec() {
    let broken = with(has_run(), ended_pod("Succeeded", 0)).change(|job| job["spec"]["job"] = json!(3));
    assert_eq!(plan(&broken).status()["jobStatus"], "Successful");
    let alive = with(has_run(), running()).change(|job| job["spec"]["job"] = json!(3));
    assert!(matches!(alive.plan::<Job, DefaultJob>(), Err(Error::Invalid(_))));
}

#[test]
fn deletes_the_children_after_the_end() {
    let keep = json!({"deletionPolicy": "OnSuccess"});
    let always = json!({"deletionPolicy": "Always"});
    let both = vec!["keep Pod j-runner", "keep DaskCluster j"];
    let pod = vec!["keep Pod j-runner"];
    let cases = [
        ("Failed", json!({}), ended_pod("Failed", 1), pod.clone()),
        ("Failed", always, ended_pod("Failed", 1), pod.clone()),
        ("Failed", keep.clone(), ended_pod("Failed", 1), both),
        ("Successful", keep.clone(), ended_pod("Succeeded", 0), pod),
        // A runner that still runs was stopped: the deadline passed, or it failed too often.
        ("Failed", json!({}), running(), vec![]),
        ("Failed", keep, running(), vec!["keep DaskCluster j"]),
    ];
    for (phase, spec, pod, left) in cases {
        let scenario = job_with(&spec)
            .status(finished(phase))
            .child(cluster())
            .child(runner(pod));
        assert_eq!(plan(&scenario).summary(), left, "{phase} {spec}");
    }
    let failing = job_with(&json!({"deletionPolicy": "OnSuccess"})).status(has_run());
    let failing = failing.child(cluster()).child(runner(ended_pod("Failed", 3)));
    assert_eq!(
        plan(&failing).events(),
        [
            "JobFailed: the runner pod failed (Error: container job: it ended with code 3), the job's cluster is kept"
        ]
    );
}

#[test]
fn deletes_the_job_after_its_time_to_live() {
    // The job ended two minutes after the start of the test.
    let at = |ttl: Value, milliseconds: i64| {
        let scenario = job_with(&json!({"ttlSecondsAfterFinished": ttl}));
        let plan = plan(&scenario.status(finished("Failed")).after(milliseconds));
        (plan.0.delete_parent.is_some(), plan.0.requeue_after)
    };
    assert_eq!(at(json!(30), 120_000), (false, Some(30_000)));
    assert_eq!(at(json!(30), 149_999), (false, Some(1)));
    assert_eq!(at(json!(30), 150_000), (true, None));
    assert_eq!(at(json!(0), 120_000), (true, None));
    assert_eq!(at(Value::Null, 999_999_999), (false, None));
    assert!(!at(json!(i64::MAX), 120_000).0);

    let just_over = job_with(&json!({"ttlSecondsAfterFinished": 0}))
        .status(has_run())
        .child(cluster())
        .child(runner(ended_pod("Succeeded", 0)))
        .after(300_000);
    assert_eq!(
        plan(&just_over).0.delete_parent,
        None,
        "the end must be in the status first"
    );
}

#[test]
fn fails_after_the_deadline() {
    let at = |seconds: i64, pod: Option<Value>, milliseconds: i64| {
        let scenario = job_with(&json!({"activeDeadlineSeconds": seconds})).child(cluster());
        let scenario = pod.into_iter().fold(scenario, |scenario, pod| {
            scenario.status(has_run()).child(runner(pod))
        });
        plan(&scenario.after(milliseconds))
    };
    for huge in [999_999_999_999, i64::MAX] {
        let never = at(huge, Some(running()), 86_400_000);
        assert_eq!(never.status()["jobStatus"], "Running");
        assert_eq!(never.0.requeue_after, Some(315_360_000_000 - 86_400_000));
    }
    let before = at(60, Some(running()), 59_000);
    assert_eq!(
        (
            &before.status()["jobStatus"],
            before.0.requeue_after,
            before.summary().len()
        ),
        (&json!("Running"), Some(1000), 2)
    );
    let after = at(60, Some(running()), 60_000);
    assert_eq!(after.status()["jobStatus"], "Failed");
    assert_eq!(after.status()["endTime"], "2026-01-01T00:01:00Z");
    assert_eq!(after.summary(), ["keep DaskCluster j", "keep Pod j-runner"]);
    assert_eq!(
        after.events(),
        [
            "JobFailed: the job failed (DeadlineExceeded: it took longer than its activeDeadlineSeconds), the job's \
             cluster is deleted"
        ]
    );
    let never_ran = at(60, None, 61_000);
    assert_eq!(never_ran.status()["jobStatus"], "Failed", "waiting counts");
    let in_time = at(60, Some(ended_pod("Succeeded", 0)), 500_000);
    assert_eq!(
        in_time.status()["jobStatus"],
        "Successful",
        "the end of the runner takes precedence, even if it is observed late"
    );
}

/// A sidecar such as a database proxy never ends.
#[test]
fn sidecars_do_not_keep_a_job_running() {
    let with_proxy = |code: i32| {
        let ended =
            json!({"exitCode": code, "reason": "Error", "startedAt": STARTED, "finishedAt": FINISHED});
        json!({"phase": "Running", "containerStatuses": [
            {"name": "proxy", "restartCount": 0, "state": {"running": {"startedAt": STARTED}}},
            {"name": "job", "restartCount": 0, "state": {"terminated": ended}}]})
    };
    for (code, phase, said) in [
        (0, "Successful", "JobSuccessful"),
        (
            3,
            "Failed",
            "JobFailed: the runner pod failed (Error: container job: it ended with code 3)",
        ),
    ] {
        let scenario = with(has_run(), with_proxy(code))
            .change(|job| job["spec"]["job"]["spec"]["restartPolicy"] = json!("Never"));
        let first = plan(&scenario);
        assert_eq!(first.status(), finished(phase));
        assert!(first.events()[0].starts_with(said), "{:?}", first.events());
        let after = plan(&scenario.status(first.status()));
        assert_eq!(after.summary(), [""; 0], "the runner is stopped");
    }
    // The node restarts the container.
    let again = plan(&with(has_run(), with_proxy(3)));
    assert_eq!(again.status()["jobStatus"], "Running");
}
