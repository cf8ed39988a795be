//! Tests of `idleTimeout`.

use super::*;

fn with_timeout(seconds: i64) -> Scenario {
    complete_cluster(ready_pod()).change(|cluster| cluster["spec"]["idleTimeout"] = json!(seconds))
}

fn idle_facts(asked: i64, idle_since: Option<i64>) -> SchedulerFacts {
    let worker = worker("simple-default-worker-0000000001", "tcp://10.0.0.7:1");
    SchedulerFacts {
        idle_since,
        ..answer(asked, vec![worker])
    }
}

/// Adds the status after a plan to a scenario, with the transition times of its conditions that long ago.
fn with_status(scenario: Scenario, before: i64) -> Scenario {
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

/// Returns a cluster whose scheduler has been idle for this time, and was observed to be idle since then.
fn idle(timeout: i64, idle_for: i64) -> Scenario {
    let since = START - idle_for;
    let begun = with_timeout(timeout)
        .scheduler(idle_facts(since, Some(since)))
        .after(-idle_for);
    with_status(begun, idle_for)
        .scheduler(idle_facts(START, Some(since)))
        .after(0)
}

fn condition(plan: &Outcome) -> Option<String> {
    let text = plan.condition("Idle")?;
    text.split(':').next().map(str::to_owned)
}

#[test]
fn deletes_idle_clusters() {
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
fn requeues_and_announces_in_time() {
    // Timeout, idle time; reason, number of events, requeue.
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
        assert_eq!(second.events(), [""; 0], "one event for each idle period");
    }
    let request = plan(&idle(60, 0)).0.scheduler.expect("scheduler query");
    assert_eq!(
        (request.questions, request.period),
        (vec![SchedulerQuestion::Idle], 5000)
    );
}

#[test]
fn work_starts_a_new_idle_period() {
    let soon = idle(60, 50_000);
    let busy = with_timeout(60)
        .scheduler(idle_facts(START, None))
        .with(&plan(&soon));
    let first = plan(&busy);
    assert_eq!(
        (condition(&first).as_deref(), first.events()),
        (Some("False Busy"), vec![])
    );
    let again = with_timeout(60).status(busy.with(&first).parent()["status"].clone());
    let again = with_status(again.scheduler(idle_facts(START, Some(START))), 0);
    let again = again
        .scheduler(idle_facts(START + 50_000, Some(START)))
        .after(50_000);
    assert_eq!(plan(&again).0.events.len(), 1);
}

#[test]
fn different_clocks_do_not_shorten_the_timeout() {
    // The scheduler's clock is one hour behind, and it has just become idle.
    let since = START - 3_600_000;
    let begun = with_timeout(60).scheduler(idle_facts(START, Some(since)));
    assert_eq!(condition(&plan(&begun)).as_deref(), Some("True NothingToDo"));
    let begun = with_status(begun, 0);
    let after = |milliseconds: i64| {
        let scenario = begun
            .clone()
            .scheduler(idle_facts(START + milliseconds, Some(since)));
        plan(&scenario.after(milliseconds))
    };
    assert_eq!(condition(&after(47_000)).as_deref(), Some("True NothingToDo"));
    let soon = after(50_000);
    assert_eq!(condition(&soon).as_deref(), Some("True IdleTimeoutSoon"));
    assert_eq!((soon.0.requeue_after, soon.0.delete_parent), (Some(10_000), None));

    // Work between two queries: the time starts again.
    let other = begun
        .scheduler(idle_facts(START + 50_000, Some(since + 49_000)))
        .after(50_000);
    let worked = plan(&other);
    assert_eq!(condition(&worked).as_deref(), Some("False Busy"));
    assert_eq!((worked.0.requeue_after, worked.events()), (Some(1000), vec![]));
    let anew = other
        .with(&worked)
        .scheduler(idle_facts(START + 51_000, Some(since + 49_000)));
    let anew = plan(&anew.after(51_000));
    assert_eq!(condition(&anew).as_deref(), Some("True NothingToDo"));
    assert_eq!(anew.0.requeue_after, Some(48_000));
}

/// Users write huge numbers to disable the timeout.
#[test]
fn huge_timeouts_are_limited_to_ten_years() {
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
fn deletes_nothing_without_recent_facts() {
    let untouched = |scenario: Scenario| {
        let plan = plan(&scenario);
        assert_eq!((plan.0.delete_parent.as_deref(), plan.events()), (None, vec![]));
        plan
    };
    untouched(with_timeout(60).scheduler(idle_facts(START, None)));
    let never = untouched(with_timeout(0).scheduler(idle_facts(START, Some(0))));
    assert_eq!(
        (never.0.scheduler, never.0.conditions.len()),
        (None, 3),
        "no query is made"
    );
    untouched(with_timeout(60));
    // The scheduler replied before the timeout ended, and has not replied since.
    let old = idle(60, 59_000).after(3_600_000);
    assert_eq!(plan(&old).0.delete_parent, None);
    assert_eq!(plan(&old.clone().with(&plan(&old))).0.delete_parent, None);
    let outdated = old.clone().with(&plan(&old)).unreachable("connection refused");
    let silent = untouched(outdated.after(7_200_000));
    assert_eq!(
        condition(&silent).as_deref(),
        Some("True IdleTimeoutSoon"),
        "the previous condition stays"
    );
    // The scheduler is not ready, so it can't have work.
    let starting = complete_cluster(pod(json!({"phase": "Pending"})))
        .change(|cluster| cluster["spec"]["idleTimeout"] = json!(60));
    let starting = untouched(starting.scheduler(idle_facts(START, Some(0))));
    assert_eq!(starting.0.scheduler, None);
}

#[test]
fn does_not_delete_the_cluster_of_a_job() {
    let of_job = idle(60, 60_000).change(|cluster| {
        cluster["metadata"]["ownerReferences"] =
            json!([{"kind": "DaskJob", "name": "simple", "controller": true}]);
    });
    let plan = plan(&of_job.clone().with(&plan(&of_job)));
    assert_eq!(plan.0.delete_parent, None);
    assert_eq!(condition(&plan).as_deref(), Some("True IdleTimeout"));
}
