//! `idleTimeout`.

use super::*;

fn with_timeout(seconds: i64) -> Scenario {
    whole(ready_pod()).change(|cluster| cluster["spec"]["idleTimeout"] = json!(seconds))
}

fn said(asked: i64, idle_since: Option<i64>) -> SchedulerFacts {
    SchedulerFacts {
        observed_at: asked,
        answers_since: 0,
        workers: Vec::new(),
        desired_workers: None,
        idle_since,
    }
}

fn idle(timeout: i64, idle_for: i64) -> Scenario {
    with_timeout(timeout).scheduler(said(START, Some(START - idle_for)))
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
    let again = soon.status(busy.with(&first).parent()["status"].clone());
    assert_eq!(plan(&again).0.events.len(), 1);
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
    let old = said(START, Some(START - 59_000));
    let old = with_timeout(60).scheduler(old).after(3_600_000);
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
