//! Tests of workers that leave without a loss of results.

use super::*;

const GB: u64 = 1_000_000_000;

fn three() -> Scenario {
    group(1)
        .child(pod("a", running()))
        .child(pod("b", running()))
        .child(pod("c", running()))
}

#[test]
fn the_least_costly_workers_leave() {
    // a has tasks and no results, b is idle with many results, c has both. Workers that are not listed are unregistered.
    let workers = [("a", 1, 0), ("b", 0, GB), ("c", 2, GB)];
    let all: &[(&str, u32, u64)] = &workers;
    for (replicas, known, expected) in [
        (3, all, vec![]),
        (2, all, vec!["b"]),
        (1, all, vec!["b", "a"]),
        (2, &all[..2], vec!["c"]),
        (2, &all[1..], vec!["a"]),
        (1, &all[..1], vec!["b", "c"]),
    ] {
        let scenario = three().change(|group| group["spec"]["worker"]["replicas"] = json!(replicas));
        let plan = plan(&scenario.scheduler(facts(0, known)));
        assert_eq!(with_action(&plan, "apply"), expected, "{replicas} of {known:?}");
        assert_eq!(count(&plan, "keep"), 3 - expected.len());
        let asks = (!expected.is_empty()).then(Vec::<String>::new);
        assert_eq!(
            retired(&plan),
            asks,
            "no worker is retired before its mark is observed"
        );
        assert_eq!(plan.condition(ScaleDownBlocked::TYPE), None);
    }
}

/// The status of a pod lags behind its containers.
#[test]
fn a_registered_worker_is_drained_although_its_pod_seems_not_started() {
    let base = group(1).child(pod("a", pending())).child(pod("b", running()));
    for (known, left, stays) in [
        (&[("a", 3, GB), ("b", 0, 0)], "b", "a"),
        (&[("a", 0, GB), ("b", 3, GB)], "a", "b"),
    ] {
        let first = plan(&base.clone().scheduler(facts(0, known)));
        assert_eq!(with_action(&first, "apply"), [left]);
        assert_eq!(with_action(&first, "keep"), [stays]);
    }
    let mut going = pod("a", pending());
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z");
    let plan = plan(
        &group(1)
            .child(going)
            .child(pod("b", running()))
            .scheduler(facts(0, &[("a", 3, GB), ("b", 0, 0)])),
    );
    assert_eq!(retired(&plan), Some(vec!["tcp://a:1".to_owned()]));
}

#[test]
fn a_mark_has_the_time() {
    let plan = plan(
        &three()
            .scheduler(facts(0, &[("a", 0, 0), ("b", 0, 1), ("c", 0, 2)]))
            .after(1234),
    );
    assert_eq!(
        plan.object("Pod", "a"),
        Some(json!({"metadata": {
            "labels": labels(),
            "annotations": {"kubernetes.dask.org/retiring-since": "2026-01-01T00:00:01.234Z"},
        }}))
    );
    assert_eq!(
        plan.events(),
        ["WorkersRetiring: 2 workers are told to hand on all results and leave (more than wanted): a, b"]
    );
    assert_eq!(plan.0.requeue_after, Some(1000));
}

#[test]
fn drains_a_worker() {
    let known: &[(&str, u32, u64)] = &[("a", 3, GB), ("b-0", 0, 5), ("b-1", 0, 5), ("x", 0, 0)];
    let base = group(1).child(pod("a", running())).child(pod("b", running()));
    let first = plan(&base.clone().scheduler(facts(0, known)));
    assert_eq!(first.summary(), ["keep Pod a", "apply Pod b"]);

    let scenario = base.with(&first);
    let second = plan(&scenario.clone().scheduler(facts(0, known)).after(500));
    assert_eq!(second.summary(), ["keep Pod a", "keep Pod b"]);
    assert_eq!(
        retired(&second),
        Some(vec!["tcp://b-0:1".to_owned(), "tcp://b-1:1".to_owned()]),
        "x belongs to another group"
    );
    assert_eq!(
        (&second.status()["replicas"], &second.status()["retiringReplicas"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(second.events(), [""; 0]);

    let half = plan(
        &scenario
            .clone()
            .scheduler(facts(1000, &[("a", 3, GB), ("b-1", 0, 5)]))
            .after(1000),
    );
    assert_eq!(
        half.summary(),
        ["keep Pod a", "keep Pod b"],
        "a worker of the pod is still registered"
    );
    let last = plan(&scenario.scheduler(facts(2000, &[("a", 3, GB)])).after(2000));
    assert_eq!(last.summary(), ["keep Pod a"]);
    assert_eq!(
        last.events(),
        ["WorkersRetired: 1 worker is deleted after all results have left: b"]
    );

    let end = plan(&group(1).child(pod("a", running())));
    assert_eq!(
        (retired(&end), end.0.requeue_after),
        (None, None),
        "the scheduler is not queried any more"
    );
}

#[test]
fn deletes_workers_only_with_facts_newer_than_the_mark() {
    let base = group(1).child(pod("a", running())).child(marked("b", 1000));
    for (observed, expected) in [(500, 2), (1000, 2), (1001, 1)] {
        let plan = plan(
            &base
                .clone()
                .scheduler(facts(observed, &[("a", 0, 0)]))
                .after(1500),
        );
        assert_eq!(count(&plan, "keep"), expected, "facts of {observed}");
        assert_eq!(plan.0.requeue_after, (expected == 2).then_some(1000));
    }
    // A scheduler that has just started does not know any worker yet.
    for (observed, expected) in [(3000, 2), (6001, 1)] {
        let plan = plan(&base.clone().scheduler(facts(observed, &[])).after(observed));
        assert_eq!(count(&plan, "keep"), expected, "empty facts of {observed}");
    }
}

#[test]
fn reports_stuck_workers_and_deletes_them_at_the_deadline() {
    let base = group(1)
        .change(|group| group["spec"]["worker"]["drainTimeoutSeconds"] = json!(60))
        .child(pod("a", running()))
        .child(marked("b", 0));
    let at = |after| {
        plan(
            &base
                .clone()
                .scheduler(facts(after, &[("a", 0, 0), ("b", 1, 7)]))
                .after(after),
        )
    };
    let early = at(1000);
    assert_eq!(
        (early.condition(ScaleDownBlocked::TYPE), early.0.requeue_after),
        (None, Some(29_000))
    );
    let stuck = at(40_000);
    assert_eq!(
        stuck.condition(ScaleDownBlocked::TYPE).as_deref(),
        Some(
            "True WorkersHoldData: 1 worker is to leave and could not hand on all results (7 bytes) since 2026-01-01T00:00:00Z: b; more \
             workers or more memory would take them, and what is still there at 2026-01-01T00:01:00Z is lost"
        )
    );
    assert_eq!((count(&stuck, "keep"), stuck.0.requeue_after), (2, Some(20_000)));
    let later = at(41_000);
    assert_eq!(
        (later.condition(ScaleDownBlocked::TYPE), later.status()),
        (stuck.condition(ScaleDownBlocked::TYPE), stuck.status()),
        "the messages do not change with time"
    );
    assert_eq!(retired(&stuck), Some(vec!["tcp://b:1".to_owned()]));
    let over = at(60_000);
    assert_eq!(over.summary(), ["keep Pod a"]);
    assert_eq!(
        over.events(),
        [
            "DrainTimeout: 1 worker is deleted with all results held there, which could not be handed on within 1m: b"
        ]
    );
    assert_eq!(over.condition(ScaleDownBlocked::TYPE), None);
}

/// Users write huge numbers to disable the deadline.
#[test]
fn huge_deadlines_are_limited_to_ten_years() {
    for timeout in [json!(999_999_999_999_i64), json!(i64::MAX)] {
        let scenario = group(1)
            .change(|group| group["spec"]["worker"]["drainTimeoutSeconds"] = timeout)
            .child(pod("a", running()))
            .child(marked("b", 0))
            .scheduler(facts(86_400_000, &[("a", 0, 0), ("b", 1, 7)]));
        let waits = plan(&scenario.after(86_400_000));
        assert_eq!(count(&waits, "keep"), 2);
        assert_eq!(waits.0.requeue_after, Some(315_360_000_000 - 86_400_000));
        let blocked = waits.condition(ScaleDownBlocked::TYPE).expect("condition");
        assert!(
            blocked.ends_with("what is still there at 2035-12-30T00:00:00Z is lost"),
            "{blocked}"
        );
        let questionable = waits.condition("SpecQuestionable").expect("condition");
        assert!(
            questionable.contains("spec.worker.drainTimeoutSeconds"),
            "{questionable}"
        );
    }
}

#[test]
fn no_worker_leaves_while_the_scheduler_is_unreachable() {
    let mut scenario = three()
        .child(marked("d", -500_000))
        .unreachable("no route to host");
    let held = plan(&scenario);
    assert_eq!(count(&held, "keep"), 4);
    assert_eq!(
        held.condition(ScaleDownBlocked::TYPE).as_deref(),
        Some(
            "True SchedulerUnreachable: 3 workers are to leave and held back, because results that no other worker has may \
             be lost and the scheduler can't be asked to move them: no route to host; with `scaleDown: unsafe` they \
             would be deleted all the same"
        )
    );
    assert_eq!((retired(&held), held.0.requeue_after), (Some(vec![]), Some(5000)));
    assert_eq!(held.0.events.len(), 1);
    scenario = scenario.with(&held);
    assert_eq!(plan(&scenario).events(), [""; 0], "it is reported once");
    let restarted = three()
        .child(marked("d", -500_000))
        .status(scenario.parent()["status"].clone());
    let restarted = plan(&restarted);
    assert_eq!(count(&restarted, "keep"), 4);
    assert_eq!(
        (restarted.condition(ScaleDownBlocked::TYPE), restarted.events()),
        (held.condition(ScaleDownBlocked::TYPE), vec![]),
        "the condition stays until the next query"
    );

    // The deadline counts from the time at which the scheduler replies again.
    let known = [("a", 0, 0), ("b", 0, 0), ("c", 0, 0), ("d", 1, GB)];
    let since = |after| SchedulerFacts {
        answers_since: START + 10,
        ..facts(after, &known)
    };
    let back = plan(&scenario.clone().scheduler(since(10)).after(10));
    assert_eq!(with_action(&back, "apply"), ["a", "b"]);
    assert_eq!(retired(&back), Some(vec!["tcp://d:1".to_owned()]));
    let after = scenario.with(&back).scheduler(since(1000)).after(1000);
    assert_eq!(
        (
            count(&plan(&after), "keep"),
            plan(&after).condition(ScaleDownBlocked::TYPE)
        ),
        (4, None)
    );
}

/// While the operator was down or the scheduler did not reply, no results could move.
#[test]
fn the_deadline_counts_from_the_replies_of_the_scheduler() {
    let scenario = group(1).child(pod("a", running())).child(marked("b", -400_000));
    let at = |after| {
        let facts = SchedulerFacts {
            answers_since: START,
            ..facts(after, &[("a", 0, 0), ("b", 1, GB)])
        };
        plan(&scenario.clone().scheduler(facts).after(after))
    };
    assert_eq!(
        count(&plan(&scenario), "keep"),
        2,
        "the scheduler was not queried yet"
    );
    for after in [0, 299_999] {
        let plan = at(after);
        assert_eq!(plan.summary(), ["keep Pod a", "keep Pod b"]);
        assert_eq!(retired(&plan), Some(vec!["tcp://b:1".to_owned()]));
    }
    assert_eq!(at(300_000).summary(), ["keep Pod a"]);
}

#[test]
fn the_last_worker_with_results_does_not_leave() {
    let base = group(0).child(pod("a", running())).child(pod("b", running()));
    let at = |b| plan(&base.clone().scheduler(facts(0, &[("a", 0, 7), ("b", 0, b)])));
    let held = at(9);
    assert_eq!(
        held.summary(),
        ["keep Pod b", "apply Pod a"],
        "b takes the results of a"
    );
    assert_eq!(
        held.condition(ScaleDownBlocked::TYPE).as_deref(),
        Some(
            "True WorkersHoldData: 1 worker is to leave and held back, because no other worker can take the results: b; \
             to keep them, add a worker or fetch them; to lose them, delete the pod"
        )
    );
    assert_eq!(held.events().len(), 2);
    let scenario = base.with(&held);
    let after_a_day = scenario.clone().scheduler(facts(86_400_000, &[("b", 0, 9)]));
    let after_a_day = plan(&after_a_day.after(86_400_000));
    assert_eq!(after_a_day.summary(), ["keep Pod b"]);
    assert_eq!(
        with_action(&after_a_day, "keep"),
        ["b"],
        "it has no deadline, and the scheduler is queried"
    );
    assert_eq!(retired(&after_a_day), Some(vec![]));
    let fetched = plan(&scenario.scheduler(facts(20, &[("b", 0, 0)])).after(20));
    assert_eq!(fetched.summary(), ["apply Pod b"]);
    assert_eq!(fetched.condition(ScaleDownBlocked::TYPE), None);

    let without_care = unsafe_surplus().scheduler(facts(0, &[("a", 0, 7), ("b", 0, 9)]));
    assert_eq!(with_action(&plan(&without_care), "apply"), ["a", "b"]);
}

/// Returns a group with two surplus workers and `scaleDown: unsafe`.
fn unsafe_surplus() -> Scenario {
    let group = group(0).change(|group| group["spec"]["worker"]["scaleDown"] = json!("unsafe"));
    group.child(pod("a", running())).child(pod("b", running()))
}

#[test]
fn reverts_a_drain_without_recipients() {
    let scenario = group(2).child(pod("a", running())).child(marked("b", 0));
    let mut paused = facts(10, &[("a", 0, 0), ("b", 0, 7)]);
    paused.workers[0].status = "paused".into();
    let back = plan(&scenario.clone().scheduler(paused).after(10));
    assert_eq!(back.summary(), ["keep Pod a", "apply Pod b"]);
    assert_eq!(
        back.object("Pod", "b"),
        Some(json!({"metadata": {"labels": labels()}}))
    );
    assert_eq!(back.status()["replicas"], 2);
    assert_eq!((retired(&back), back.events()), (None, vec![]));
}

#[test]
fn unsafe_scale_down_deletes_workers_after_a_timeout() {
    let scenario = three().change(|group| group["spec"]["worker"]["scaleDown"] = json!("unsafe"));
    let asked = plan(&scenario);
    assert_eq!(count(&asked, "keep"), 3, "the scheduler is queried first");
    let mut newest = pod("d", running());
    newest["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:09Z");
    let scenario = scenario
        .child(newest)
        .child(marked("e", 0))
        .unreachable("timed out");
    let first = plan(&scenario);
    assert_eq!(count(&first, "keep"), 5, "a single missing reply is not enough");
    assert_eq!(
        first.condition(ScaleDownBlocked::TYPE).as_deref(),
        Some(
            "True SchedulerUnreachable: 4 workers are to leave and held back, because results that no other worker has may \
             be lost and the scheduler can't be asked to move them: timed out; at 2026-01-01T00:00:30Z they are deleted \
             all the same (`scaleDown: unsafe`)"
        )
    );
    assert_eq!(first.0.requeue_after, Some(5000));
    let scenario = scenario.with(&first);
    let still = plan(&scenario.clone().after(29_000));
    assert_eq!((count(&still, "keep"), still.0.requeue_after), (5, Some(1000)));
    assert_eq!(still.events(), [""; 0]);
    let known: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| (name, 1, 1)).into();
    let back = scenario.clone().scheduler(facts(29_500, &known)).after(29_500);
    assert!(plan(&back).status()["schedulerUnreachableSince"].is_null());
    let scenario = scenario.after(30_000);
    let plan = super::plan(&scenario);
    assert_eq!(plan.summary(), ["keep Pod c"]);
    assert_eq!(
        plan.events(),
        [
            "UnsafeScaleDown: 4 workers are deleted with all results held there, because the scheduler could not be asked \
             for 30s and `scaleDown` is `unsafe`: e, d, a, …"
        ]
    );
    assert_eq!(plan.condition(ScaleDownBlocked::TYPE), None);
    let after = super::plan(&scenario.with(&plan));
    assert!(
        after.status()["schedulerUnreachableSince"].is_null(),
        "a new outage starts again"
    );
}

#[test]
fn scaling_up_does_not_reinstate_retiring_workers() {
    let scenario = group(2).child(pod("a", running())).child(marked("b", 0));
    let plan = plan(
        &scenario
            .scheduler(facts(10, &[("a", 0, 0), ("b", 1, GB)]))
            .after(10),
    );
    assert_eq!((count(&plan, "keep"), count(&plan, "create")), (2, 1));
    assert_eq!(retired(&plan), Some(vec!["tcp://b:1".to_owned()]));
}

#[test]
fn a_lost_retiring_worker_is_not_replaced() {
    let mut over = marked("b", 0);
    over["status"] = json!({"phase": "Failed", "reason": "Evicted"});
    let plan = plan(&group(1).child(pod("a", running())).child(over));
    assert_eq!(
        (plan.summary(), plan.events()),
        (vec!["keep Pod a".to_owned()], vec![])
    );
}

#[test]
fn drains_deployments() {
    let deployment = |name: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "status": {"readyReplicas": 1}});
    let base = group(1).child(deployment("x")).child(deployment("y"));
    let first = plan(&base.clone().scheduler(facts(0, &[("x", 0, 0), ("y", 1, 1)])));
    assert_eq!(first.summary(), ["keep Deployment y", "apply Deployment x"]);
    let marked = base.with(&first);
    let second = plan(
        &marked
            .clone()
            .scheduler(facts(10, &[("x", 0, 0), ("y", 1, 1)]))
            .after(10),
    );
    assert_eq!(
        (count(&second, "keep"), retired(&second)),
        (2, Some(vec!["tcp://x:1".to_owned()]))
    );
    let third = plan(&marked.scheduler(facts(20, &[("y", 1, 1)])).after(20));
    assert_eq!(third.summary(), ["keep Deployment y"]);
}

#[test]
fn an_unnamed_worker_may_be_in_any_deployment() {
    let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "status": {"readyReplicas": 1}});
    deployment["metadata"]["annotations"] = json!({metadata::ANNOTATION_RETIRING_SINCE: time::format(START)});
    let nameless = |after| {
        let mut facts = facts(after, &[("y", 0, 0)]);
        facts.workers[0].name = facts.workers[0].address.clone();
        facts
    };
    let at = |after| {
        count(
            &plan(
                &group(0)
                    .child(deployment.clone())
                    .scheduler(nameless(after))
                    .after(after),
            ),
            "keep",
        )
    };
    assert_eq!((at(10_000), at(300_000)), (1, 0), "it has the full time");
}

#[test]
fn deletes_all_workers_of_a_suspended_cluster() {
    let suspended = |scenario: Scenario| {
        let mut cluster = cluster();
        cluster["spec"]["suspend"] = json!(true);
        scenario.related_instead(cluster)
    };
    let mut going = pod("c", running());
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let scenario = suspended(
        group(2)
            .child(pod("a", running()))
            .child(marked("b", 0))
            .child(going),
    );
    let first = plan(&scenario);
    assert_eq!(first.summary(), ["keep Pod c"]);
    assert_eq!(
        first.condition(WorkersReady::TYPE).as_deref(),
        Some("False Suspended: DaskCluster simple is suspended: no worker runs")
    );
    assert_eq!(
        first.events(),
        ["Suspended: DaskCluster simple is suspended: no worker runs"]
    );
    assert_eq!(
        (plan(&scenario.with(&first)).events(), retired(&first)),
        (vec![], None)
    );
}
