//! Tests of `backoffLimit`.

use super::*;

fn limited(limit: u64, policy: &str) -> Scenario {
    job_with(&json!({"backoffLimit": limit})).change(|job| {
        job["spec"]["job"]["spec"]["restartPolicy"] = json!(policy);
    })
}

fn evicted() -> Value {
    json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"})
}

fn crashing(restarts: u64) -> Value {
    json!({"phase": "Running", "containerStatuses": [{"name": "job", "restartCount": restarts,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": STARTED, "finishedAt": FINISHED}}}]})
}

fn with_uid(uid: &str, status: Value) -> Value {
    let mut pod = runner(status);
    pod["metadata"]["uid"] = json!(uid);
    pod
}

#[test]
fn creates_a_new_pod_for_each_attempt() {
    let mut status = has_run();
    let mut told = Vec::new();
    for attempt in 1..=3 {
        let uid = if attempt == 1 {
            "u".to_owned()
        } else {
            format!("u{attempt}")
        };
        // The runner failed.
        let scenario = limited(2, "Never")
            .child(cluster())
            .child(with_uid(&uid, evicted()));
        let failed = plan(&scenario.clone().status(status.clone()));
        told.extend(failed.events());
        if attempt == 3 {
            assert_eq!(failed.status()["jobStatus"], "Failed");
            assert_eq!(failed.summary(), ["keep DaskCluster j", "keep Pod j-runner"]);
            break;
        }
        assert_eq!(
            failed.summary(),
            ["apply DaskCluster j"],
            "the failed runner must be deleted"
        );
        assert_eq!(failed.status()["jobStatus"], "Running");
        assert_eq!(failed.status()["startTime"], STARTED);
        // The plan is repeated before the pod is gone.
        let again = plan(&scenario.status(failed.status()));
        assert_eq!((again.events(), again.status()), (vec![], failed.status()));
        // The pod is gone, and the next one is created.
        let gone = plan(&limited(2, "Never").child(cluster()).status(failed.status()));
        assert_eq!(gone.summary(), ["create Pod j-runner", "apply DaskCluster j"]);
        assert_eq!(gone.events(), [""; 0]);
        status = gone.status();
    }
    assert_eq!(
        told,
        [
            "RunnerFailed: attempt 1 of 3 failed (Evicted: low on memory): a new runner follows",
            "RunnerFailed: attempt 2 of 3 failed (Evicted: low on memory): a new runner follows",
            "JobFailed: the job failed (BackoffLimitExceeded: attempt 3 of 3 failed (Evicted: low on memory)), the \
             job's cluster is deleted",
        ]
    );
}

#[test]
fn a_lost_runner_counts_as_an_attempt() {
    let lost = |limit: u64| plan(&limited(limit, "OnFailure").child(cluster()).status(has_run()));
    let again = lost(1);
    assert_eq!(again.summary(), ["create Pod j-runner", "apply DaskCluster j"]);
    assert_eq!(
        again.events(),
        [
            "RunnerFailed: attempt 1 of 2 failed (RunnerLost: the runner pod was deleted or lost before it ended): a \
             new runner follows"
        ]
    );
    let twice = plan(&limited(1, "OnFailure").child(cluster()).status(again.status()));
    assert_eq!((twice.summary(), twice.events()), (again.summary(), vec![]));
    // The successor was created, but the status could not be written.
    let unseen = limited(1, "OnFailure").child(cluster()).status(has_run());
    let unseen = plan(&unseen.child(with_uid("u2", json!({"phase": "Pending"}))));
    assert_eq!(unseen.events(), again.events());
    let none = lost(0);
    assert_eq!(none.status()["jobStatus"], "Failed");
    assert!(none.events()[0].contains("attempt 1 of 1 failed (RunnerLost"));
}

#[test]
fn container_restarts_count_as_attempts() {
    let at = |limit: u64, policy: &str, pod: Value| {
        plan(
            &limited(limit, policy)
                .status(has_run())
                .child(cluster())
                .child(runner(pod)),
        )
    };
    let restarted = |restarts: u64| {
        json!({"phase": "Running", "containerStatuses": [
            {"restartCount": restarts, "state": {"running": {"startedAt": STARTED}}}]})
    };
    let phase = |outcome: &Outcome| outcome.status()["jobStatus"].as_str().map(str::to_owned);
    let (running, failed) = (Some("Running".to_owned()), Some("Failed".to_owned()));
    for (limit, pod, expected) in [
        (2, crashing(0), &running),
        (2, crashing(1), &running),
        (2, crashing(2), &failed),
        (2, restarted(2), &running),
        (2, restarted(3), &failed),
        (0, restarted(0), &running),
        (0, crashing(0), &failed),
    ] {
        assert_eq!(
            phase(&at(limit, "OnFailure", pod.clone())),
            *expected,
            "{limit} {pod}"
        );
    }
    let exceeded = at(2, "OnFailure", crashing(2));
    assert_eq!(
        exceeded.events(),
        [
            "JobFailed: the job failed (BackoffLimitExceeded: attempt 3 of 3 failed (OOMKilled: container job: it ended with code 137 \
             (OOMKilled))), the job's cluster is deleted"
        ]
    );
    assert_eq!(exceeded.summary(), ["keep DaskCluster j", "keep Pod j-runner"]);
    let stopped = plan(
        &limited(2, "OnFailure")
            .status(exceeded.status())
            .child(cluster())
            .child(runner(crashing(2))),
    );
    assert_eq!(
        stopped.summary(),
        [""; 0],
        "the pod, which would restart, is deleted"
    );
}

#[test]
fn does_not_retry_after_the_deadline() {
    let scenario = limited(5, "Never").change(|job| job["spec"]["activeDeadlineSeconds"] = json!(60));
    let scenario = scenario
        .status(has_run())
        .child(cluster())
        .child(runner(evicted()));
    assert_eq!(
        plan(&scenario.clone().after(59_000)).summary(),
        ["apply DaskCluster j"]
    );
    let late = plan(&scenario.after(60_000));
    assert_eq!(late.status()["jobStatus"], "Failed");
    assert!(late.events()[0].contains("DeadlineExceeded"));
}

#[test]
fn respects_a_lowered_limit() {
    let mut status = has_run();
    status["attempts"] = json!({"former": 3});
    let lowered = plan(&limited(1, "Never").child(cluster()).status(status));
    assert_eq!(lowered.status()["jobStatus"], "Failed");
}

#[test]
fn the_back_off_grows_when_attempts_fail_early() {
    let mut status = has_run();
    let mut now = 0;
    let mut pauses = Vec::new();
    for attempt in 1..=4 {
        let uid = if attempt == 1 {
            "u".to_owned()
        } else {
            format!("u{attempt}")
        };
        let mut failed = with_uid(&uid, evicted());
        failed["metadata"]["creationTimestamp"] = json!(time::format(START + now));
        let base = limited(5, "Never").child(cluster());
        let first = plan(&base.clone().child(failed).status(status.clone()).after(now));
        assert_eq!(first.events().len(), 1);
        let waits = plan(&base.clone().status(first.status()).after(now));
        assert_eq!(waits.summary(), ["apply DaskCluster j"]);
        let pause = time::parse(
            first.status()["attempts"]["backoff"]["until"]
                .as_str()
                .unwrap_or_default(),
        );
        let pause = pause.expect("back-off") - START - now;
        let begins = time::format(START + now + pause);
        assert_eq!(
            waits.condition("RunnerReady"),
            Some(format!(
                "False BackOff: the last runner failed soon after its start (Evicted: low on memory): the next attempt \
                 begins at {begins}"
            ))
        );
        now += pause;
        let then = plan(&base.status(waits.status()).after(now));
        assert_eq!(then.summary(), ["create Pod j-runner", "apply DaskCluster j"]);
        status = then.status();
        pauses.push(pause / 1000);
        now += 1000;
    }
    assert_eq!(pauses, [10, 20, 40, 80]);
}

#[test]
fn reports_the_last_output_until_the_next_attempt() {
    let ended = json!({"exitCode": 1, "reason": "Error", "message": "KeyError: 'x'", "finishedAt": STARTED});
    let mut failed = runner(
        json!({"phase": "Failed", "containerStatuses": [{"name": "job", "state": {"terminated": ended}}]}),
    );
    failed["metadata"]["creationTimestamp"] = json!(time::format(START));
    let base = limited(5, "Never").child(cluster());
    let first = plan(&base.clone().child(failed).status(has_run()).after(10_000));
    let waits = plan(&base.status(first.status()).after(11_000));
    assert_eq!(
        waits.condition("RunnerReady").as_deref(),
        Some(
            "False BackOff: the last runner failed soon after its start (Error: container job: it ended with code 1: KeyError: \
             'x'): the next attempt begins at 2026-01-01T00:00:20Z"
        )
    );
}
