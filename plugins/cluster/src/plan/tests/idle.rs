//! `idleTimeout`.

use super::*;

fn with_timeout(seconds: i64) -> Scenario {
    whole(ready_pod()).change(|cluster| cluster["spec"]["idleTimeout"] = json!(seconds))
}

fn said(asked: i64, idle_since: Option<i64>) -> SchedulerFacts {
    let worker = worker("simple-default-worker-0000000001", "tcp://10.0.0.7:1");
    SchedulerFacts {
        idle_since,
        ..answer(asked, vec![worker])
    }
}

/// What was known before, that long ago, as the status tells it.
fn known(scenario: Scenario, before: i64) -> Scenario {
    let first = plan(&scenario);
    scenario.with(&first).change(|cluster| {
        for condition in cluster["status"]["conditions"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            condition["lastTransitionTime"] = json!(time::format(START - before));
        }
    })
}

/// A scheduler that has been idle for so long, and was seen to be so all the time.
fn idle(timeout: i64, idle_for: i64) -> Scenario {
    let since = START - idle_for;
    let begun = with_timeout(timeout)
        .scheduler(said(since, Some(since)))
        .after(-idle_for);
    known(begun, idle_for)
        .scheduler(said(START, Some(since)))
        .after(0)
}

fn condition(plan: &Outcome) -> Option<String> {
    let text = plan.condition("Idle")?;
    text.split(':').next().map(str::to_owned)
}

#[test]
fn idle_clusters_go() {
    let late = idle(60, 60_000);
    let announced = plan(&late);
    assert_eq!(announced.0.delete_parent, None);
    assert_eq!(condition(&announced).as_deref(), Some("True IdleTimeoutSoon"));
    assert_eq!(
        (announced.0.requeue_after, announced.0.events.len()),
        (Some(1000), 1)
    );
    let gone = plan(&late.with(&announced));
    assert_eq!(
        gone.0.delete_parent.as_deref(),
        Some(
            "the scheduler has had nothing to do since 2025-12-31T23:59:00Z, longer than the idle timeout of 1m"
        )
    );
    assert_eq!(gone.0.events.len(), 1);
    assert_eq!(condition(&gone).as_deref(), Some("True IdleTimeout"));
}

#[test]
fn when_to_look_again_and_when_to_tell() {
    // timeout, idle for; reason, events, again
    let cases = [
        (60, 0, "NothingToDo", 0, 48_000),
        (60, 47_000, "NothingToDo", 0, 1000),
        (60, 48_000, "IdleTimeoutSoon", 1, 12_000),
        (60, 59_500, "IdleTimeoutSoon", 1, 1000),
        (3600, 3_539_000, "NothingToDo", 0, 1000),
        (3600, 3_540_000, "IdleTimeoutSoon", 1, 60_000),
    ];
    for (timeout, idle_for, reason, events, again) in cases {
        let scenario = idle(timeout, idle_for);
        let first = plan(&scenario);
        assert_eq!(
            condition(&first),
            Some(format!("True {reason}")),
            "{timeout} {idle_for}"
        );
        assert_eq!(first.0.events.len(), events);
        assert_eq!(
            (first.0.requeue_after, first.0.delete_parent.as_deref()),
            (Some(again), None)
        );
        let second = plan(&scenario.with(&first));
        assert_eq!(second.events(), [""; 0], "once for each time of idleness");
    }
    let request = plan(&idle(60, 0)).0.scheduler.expect("it is asked");
    assert_eq!(
        (request.questions, request.period),
        (vec![SchedulerQuestion::Idle], 5000)
    );
}

#[test]
fn work_in_between_is_told_again() {
    let soon = idle(60, 50_000);
    let busy = with_timeout(60).scheduler(said(START, None)).with(&plan(&soon));
    let first = plan(&busy);
    assert_eq!(
        (condition(&first).as_deref(), first.events()),
        (Some("False Busy"), vec![])
    );
    let again = with_timeout(60).status(busy.with(&first).parent()["status"].clone());
    let again = known(again.scheduler(said(START, Some(START))), 0);
    let again = again.scheduler(said(START + 50_000, Some(START))).after(50_000);
    assert_eq!(plan(&again).0.events.len(), 1);
}

#[test]
fn clocks_that_differ_do_not_shorten_the_time() {
    // The scheduler's clock is an hour behind, and it has just become idle.
    let since = START - 3_600_000;
    let begun = with_timeout(60).scheduler(said(START, Some(since)));
    assert_eq!(condition(&plan(&begun)).as_deref(), Some("True NothingToDo"));
    let begun = known(begun, 0);
    let after = |milliseconds: i64| {
        let scenario = begun.clone().scheduler(said(START + milliseconds, Some(since)));
        plan(&scenario.after(milliseconds))
    };
    assert_eq!(condition(&after(47_000)).as_deref(), Some("True NothingToDo"));
    let soon = after(50_000);
    assert_eq!(condition(&soon).as_deref(), Some("True IdleTimeoutSoon"));
    assert_eq!((soon.0.requeue_after, soon.0.delete_parent), (Some(10_000), None));

    // Work between two questions: the time begins anew.
    let other = begun
        .scheduler(said(START + 50_000, Some(since + 49_000)))
        .after(50_000);
    let worked = plan(&other);
    assert_eq!(condition(&worked).as_deref(), Some("False Busy"));
    assert_eq!((worked.0.requeue_after, worked.events()), (Some(1000), vec![]));
    let anew = other
        .with(&worked)
        .scheduler(said(START + 51_000, Some(since + 49_000)));
    let anew = plan(&anew.after(51_000));
    assert_eq!(condition(&anew).as_deref(), Some("True NothingToDo"));
    assert_eq!(anew.0.requeue_after, Some(48_000));
}

/// People write them to say never.
#[test]
fn huge_timeouts_are_ten_years() {
    for timeout in [999_999_999_999, i64::MAX] {
        let first = plan(&idle(timeout, 3_600_000));
        assert_eq!(condition(&first).as_deref(), Some("True NothingToDo"));
        assert!(
            first
                .condition("Idle")
                .is_some_and(|text| text.ends_with("the cluster is deleted at 2035-12-29T23:00:00Z")),
            "{:?}",
            first.condition("Idle")
        );
        assert_eq!(first.0.delete_parent, None);
        assert!(
            first
                .condition("SpecQuestionable")
                .is_some_and(|text| text.contains("spec.idleTimeout"))
        );
    }
}

#[test]
fn nothing_is_deleted_without_an_answer_that_says_so() {
    let untouched = |scenario: Scenario| {
        let plan = plan(&scenario);
        assert_eq!((plan.0.delete_parent.as_deref(), plan.events()), (None, vec![]));
        plan
    };
    untouched(with_timeout(60).scheduler(said(START, None)));
    let never = untouched(with_timeout(0).scheduler(said(START, Some(0))));
    assert_eq!(
        (never.0.scheduler, never.0.conditions.len()),
        (None, 3),
        "nobody asks"
    );
    untouched(with_timeout(60));
    // It answered before its time was over, and is silent since.
    let old = idle(60, 59_000).after(3_600_000);
    assert_eq!(plan(&old).0.delete_parent, None);
    assert_eq!(plan(&old.clone().with(&plan(&old))).0.delete_parent, None);
    let known = old.clone().with(&plan(&old)).unreachable("connection refused");
    let silent = untouched(known.after(7_200_000));
    assert_eq!(
        condition(&silent).as_deref(),
        Some("True IdleTimeoutSoon"),
        "what was known stays"
    );
    // It is not ready: nobody can have given it anything to do.
    let starting =
        whole(pod(json!({"phase": "Pending"}))).change(|cluster| cluster["spec"]["idleTimeout"] = json!(60));
    let starting = untouched(starting.scheduler(said(START, Some(0))));
    assert_eq!(starting.0.scheduler, None);
}

#[test]
fn the_cluster_of_a_job_says_it_and_stays() {
    let of_job = idle(60, 60_000).change(|cluster| {
        cluster["metadata"]["ownerReferences"] =
            json!([{"kind": "DaskJob", "name": "simple", "controller": true}]);
    });
    let plan = plan(&of_job.clone().with(&plan(&of_job)));
    assert_eq!(plan.0.delete_parent, None);
    assert_eq!(condition(&plan).as_deref(), Some("True IdleTimeout"));
}
