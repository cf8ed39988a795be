//! Tests of `suspend`.

use super::*;

fn suspend(scenario: Scenario, suspend: bool) -> Scenario {
    scenario.change(|job| job["spec"]["suspend"] = json!(suspend))
}

/// Returns the status that a plan leaves, with its conditions as the host writes them.
fn left_by(plan: &Outcome) -> Value {
    let mut left = Scenario::of("{metadata: {name: j}, spec: {}}").with(&Outcome(Plan {
        children: Vec::new(),
        ..plan.0.clone()
    }));
    left = left.change(|job| {
        for condition in job["status"]["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = json!("2026-01-01T00:10:00Z");
        }
    });
    left.parent()["status"].clone()
}

#[test]
fn a_job_that_is_created_suspended_has_no_children() {
    let first = plan(&suspend(job(), true));
    assert_eq!(first.summary(), [""; 0]);
    assert_eq!(
        first.status(),
        json!({"jobStatus": "JobCreated", "attempts": {"former": 0}})
    );
    assert_eq!(
        first.condition("Suspended").as_deref(),
        Some("True JobSuspended: nothing runs until spec.suspend is false")
    );
    let again = plan(&suspend(job(), true).status(left_by(&first)));
    assert_eq!((again.summary(), again.events()), (vec![], vec![]));

    let resumed = plan(&suspend(job(), false).status(left_by(&first)));
    assert_eq!(resumed.summary(), ["create Pod j-runner"]);
    assert_eq!(resumed.events(), ["JobResumed: the job is no longer suspended"]);
    assert!(
        resumed
            .condition("Suspended")
            .is_some_and(|text| text.starts_with("False JobResumed"))
    );
}

#[test]
fn stops_a_running_job_and_starts_it_again() {
    // 1. The suspension is written to the status.
    let running_job = suspend(with(has_run(), running()), true);
    let first = plan(&running_job);
    assert_eq!(first.summary(), ["keep DaskCluster j", "keep Pod j-runner"]);
    assert_eq!(
        first.status(),
        json!({"jobStatus": "Running", "clusterName": "j", "jobRunnerPodName": "j-runner", "attempts": {"former": 0}}),
        "jobStatus stays, startTime goes"
    );
    assert_eq!(first.0.events.len(), 1);
    // 2. The children are deleted.
    let second = plan(&running_job.clone().status(left_by(&first)));
    assert_eq!((second.summary(), second.events()), (vec![], vec![]));
    assert_eq!(second.status(), first.status());
    // 3. The job is resumed while the pod is being deleted. The end of the pod does not count.
    for end in [running(), ended_pod("Succeeded", 0), ended_pod("Failed", 143)] {
        let going = suspend(job(), false)
            .status(left_by(&second))
            .child(terminating(runner(end.clone())));
        let third = plan(&going);
        assert_eq!(third.status()["jobStatus"], "Running", "{end}");
        assert_eq!(third.summary(), ["keep Pod j-runner", "apply DaskCluster j"]);
        assert_eq!(third.0.requeue_after, Some(RUNNER_RETRY));
        // 4. The pod is gone. A new one is created, which does not count as a retry.
        let fourth = plan(&suspend(job(), false).child(cluster()).status(left_by(&third)));
        assert_eq!(fourth.summary(), ["create Pod j-runner", "apply DaskCluster j"]);
        assert_eq!(fourth.status()["startTime"], Value::Null);
    }
}

#[test]
fn the_end_takes_precedence_over_suspension() {
    let ended = suspend(with(has_run(), ended_pod("Succeeded", 0)), true);
    assert_eq!(plan(&ended).status()["jobStatus"], "Successful");
}

#[test]
fn retries_only_after_the_resumption() {
    let failed = job_with(&json!({"backoffLimit": 1, "suspend": true}))
        .status(has_run())
        .child(cluster())
        .child(runner(ended_pod("Failed", 1)));
    let plan = plan(&failed);
    assert_eq!(plan.status()["jobStatus"], "Running");
    assert!(plan.condition("Suspended").is_some());
}

#[test]
fn the_deadline_counts_from_the_resumption() {
    let deadline =
        |scenario: Scenario| scenario.change(|job| job["spec"]["activeDeadlineSeconds"] = json!(60));
    let stopped = plan(&suspend(deadline(job()), true).after(3_600_000));
    assert_eq!(
        stopped.status()["jobStatus"],
        "JobCreated",
        "the active time does not count"
    );
    let resumed = plan(
        &suspend(deadline(job()), false)
            .status(left_by(&stopped))
            .after(3_600_000),
    );
    assert_eq!(resumed.summary(), ["create Pod j-runner"]);
    // According to `left_by`, the job was resumed after ten minutes.
    let late = |milliseconds: i64| {
        let scenario = suspend(deadline(job()), false).status(left_by(&resumed));
        plan(&scenario.after(milliseconds)).status()["jobStatus"].clone()
    };
    assert_eq!(
        (late(659_000), late(660_000)),
        (json!("JobCreated"), json!("Failed"))
    );
}
