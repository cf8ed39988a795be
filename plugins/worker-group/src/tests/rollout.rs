//! Tests of the replacement of workers with an older template.

use super::*;

/// Returns a worker with this template hash.
fn made(name: &str, hash: &str, status: Value) -> Value {
    let mut pod = pod(name, status);
    pod["metadata"]["annotations"] = json!({metadata::ANNOTATION_TEMPLATE_HASH: hash});
    pod
}

/// Returns the template hash of new workers of a group.
fn hash(scenario: &Scenario) -> String {
    let more = scenario
        .clone()
        .change(|group| group["spec"]["worker"]["replicas"] = json!(100));
    let plan = plan(&more);
    let name = with_action(&plan, "create").pop().expect("new worker");
    let pod = plan.object("Pod", &name).expect("pod");
    pod["metadata"]["annotations"][metadata::ANNOTATION_TEMPLATE_HASH]
        .as_str()
        .expect("hash")
        .to_owned()
}

fn change(scenario: Scenario, strategy: Value) -> Scenario {
    scenario.change(|group| group["spec"]["worker"]["updateStrategy"] = strategy)
}

/// Returns a group with these numbers of outdated and updated workers, all of them ready and registered.
fn half_way(outdated: usize, updated: usize, replicas: u32, strategy: Value) -> Scenario {
    let base = change(group(replicas), strategy);
    let new = hash(&base);
    let names: Vec<String> = (0..outdated)
        .map(|n| format!("old-{n:02}"))
        .chain((0..updated).map(|n| format!("new-{n:02}")))
        .collect();
    let known: Vec<(&str, u32, u64)> = names.iter().map(|name| (name.as_str(), 0, 0)).collect();
    let scenario = base.scheduler(facts(0, &known));
    names.iter().fold(scenario, |scenario, name| {
        let hash = if name.starts_with("old") { "other" } else { &new };
        scenario.child(made(name, hash, running()))
    })
}

#[test]
fn respects_the_budgets_of_the_strategy() {
    for (outdated, updated, replicas, strategy, marked, created) in [
        (10, 0, 10, json!(null), 1, 0),
        (10, 0, 10, json!({"maxUnavailable": 3}), 3, 0),
        (10, 0, 10, json!({"maxUnavailable": "25%"}), 2, 0),
        (10, 0, 10, json!({"maxUnavailable": "100%"}), 10, 0),
        (10, 0, 10, json!({"maxSurge": 2}), 0, 2),
        (10, 2, 10, json!({"maxSurge": 2}), 2, 0),
        (8, 2, 10, json!({"maxSurge": 2}), 0, 2),
        (1, 10, 10, json!({"maxSurge": 2}), 1, 0),
        (10, 0, 10, json!({"maxSurge": 1, "maxUnavailable": 1}), 1, 1),
        (1, 9, 10, json!(null), 1, 0),
        (0, 10, 10, json!(null), 0, 0),
        (10, 0, 10, json!({"type": "OnDelete"}), 0, 0),
        // Scaling comes first, and the rollout continues with the remaining workers.
        (4, 0, 2, json!(null), 3, 0),
        (2, 0, 4, json!(null), 0, 2),
        (1, 0, 1, json!(null), 1, 0),
    ] {
        let plan = plan(&half_way(outdated, updated, replicas, strategy.clone()));
        let what = format!(
            "{outdated} + {updated} of {replicas}, {strategy}: {:?}",
            plan.summary()
        );
        assert_eq!(
            (count(&plan, "apply"), count(&plan, "create")),
            (marked, created),
            "{what}"
        );
        assert!(
            with_action(&plan, "apply")
                .iter()
                .all(|name| name.starts_with("old")),
            "{what}"
        );
        assert_eq!(plan.status()["updatedReplicas"], updated, "{what}");
        let condition = plan.condition(WorkersUpToDate::TYPE);
        assert_eq!(condition.is_some(), outdated > 0, "{condition:?}");
    }
}

#[test]
fn creates_the_successor_after_the_old_worker_is_gone() {
    let scenario = half_way(2, 0, 2, json!(null));
    let first = plan(&scenario);
    assert_eq!((count(&first, "apply"), count(&first, "create")), (1, 0));
    assert_eq!(
        first.condition(WorkersUpToDate::TYPE).as_deref(),
        Some("False RollingUpdate: 0 of 2 workers are up to date")
    );
    assert_eq!(first.events()[1], "RolloutStarted: 0 of 2 workers are up to date");
    let name = with_action(&first, "apply").pop().expect("one worker");
    let scenario = scenario.with(&first);
    let second = plan(&scenario.clone().after(10));
    assert_eq!((count(&second, "keep"), count(&second, "create")), (2, 0));
    let other = if name == "old-00" { "old-01" } else { "old-00" };
    let third = plan(&scenario.clone().scheduler(facts(20, &[(other, 0, 0)])).after(20));
    assert_eq!(with_action(&third, "keep"), [other], "the other one is deleted");
    assert_eq!((count(&third, "apply"), count(&third, "create")), (0, 1));
    let scenario = scenario.with(&third);
    let waits = plan(&scenario.after(40));
    assert_eq!((count(&waits, "apply"), count(&waits, "create")), (0, 0));
    assert_eq!(
        waits.condition(WorkersUpToDate::TYPE).as_deref(),
        Some(
            "False RollingUpdate: 1 of 2 workers are up to date; 1 new worker is waited for before others are replaced"
        )
    );
}

/// Applies the first of two plans, which marks a worker as retiring.
fn with_mark(scenario: Scenario) -> Scenario {
    let first = plan(&scenario);
    assert_eq!((count(&first, "apply"), count(&first, "create")), (1, 0));
    scenario.with(&first)
}

#[test]
fn the_only_worker_with_results_leaves_after_its_successor_runs() {
    let base = half_way(1, 0, 1, json!(null));
    for (known, marked, created, why) in [
        (vec![("old-00", 0, 0)], 1, 0, "it holds nothing"),
        (
            vec![("old-00", 0, 7), ("x", 0, 0)],
            1,
            0,
            "a worker of another group takes its results",
        ),
        (vec![("old-00", 0, 7)], 0, 1, "no other worker takes its results"),
        (vec![("old-00", 1, 0)], 0, 1, "it works"),
    ] {
        let first = plan(&base.clone().scheduler(facts(10, &known)).after(10));
        assert_eq!(
            (count(&first, "apply"), count(&first, "create")),
            (marked, created),
            "{why}"
        );
    }
    let mut paused = facts(10, &[("old-00", 0, 7), ("x", 0, 0)]);
    paused.workers[1].status = "paused".into();
    let first = plan(&base.clone().scheduler(paused).after(10));
    assert_eq!(
        (count(&first, "apply"), count(&first, "create")),
        (0, 1),
        "a paused worker takes no results"
    );

    let new = with_action(&first, "create").pop().expect("new worker");
    let base = base.with(&first);
    for known in [("old-00", 0, 7), ("old-00", 0, 0)] {
        let second = plan(&base.clone().scheduler(facts(20, &[known])).after(20));
        assert_eq!(
            (count(&second, "keep"), second.summary().len()),
            (2, 2),
            "both stay, with or without present results"
        );
    }
    let base = base.scheduler(facts(30, &[("old-00", 0, 7), (&new, 0, 0)]));
    let third = plan(&base.clone().after(30));
    assert_eq!(with_action(&third, "apply"), ["old-00"]);
    assert_eq!(with_action(&third, "keep"), [new.as_str()]);
    let last = plan(&base.with(&third).scheduler(facts(40, &[(&new, 0, 7)])).after(40));
    assert_eq!(with_action(&last, "keep"), [new], "the old one is deleted");
    assert_eq!(last.summary().len(), 1);
}

/// A group without replicas must not create a successor, whatever its update strategy is.
#[test]
fn the_last_outdated_worker_has_no_successor_in_a_group_without_replicas() {
    for strategy in [
        json!(null),
        json!({"maxUnavailable": 2}),
        json!({"maxSurge": 2}),
        json!({"type": "OnDelete"}),
    ] {
        let base = half_way(1, 0, 0, strategy.clone());
        let of = |bytes| {
            plan(
                &base
                    .clone()
                    .scheduler(facts(10, &[("old-00", 0, bytes)]))
                    .after(10),
            )
        };
        assert_eq!(of(0).summary(), ["apply Pod old-00"], "{strategy}");
        let held = of(7);
        assert_eq!(held.summary(), ["keep Pod old-00"], "{strategy}");
        assert!(held.condition(ScaleDownBlocked::TYPE).is_some(), "{strategy}");
    }
}

#[test]
fn the_only_worker_with_results_has_no_deadline() {
    let base = half_way(1, 0, 1, json!(null)).scheduler(facts(0, &[("old-00", 0, 7)]));
    let first = plan(&base);
    let scenario = base
        .with(&first)
        .scheduler(facts(86_400_000, &[("old-00", 0, 7)]));
    let later = plan(&scenario.after(86_400_000));
    assert_eq!((count(&later, "keep"), later.summary().len()), (2, 2));
}

#[test]
fn a_stuck_worker_is_replaced_before_it_is_gone() {
    let scenario = half_way(3, 0, 3, json!(null));
    let known = [("old-00", 0, 7), ("old-01", 0, 7), ("old-02", 0, 7)];
    let scenario = with_mark(scenario.scheduler(facts(0, &known)));
    let waits = plan(&scenario.clone().scheduler(facts(29_000, &known)).after(29_000));
    assert_eq!((count(&waits, "keep"), count(&waits, "create")), (3, 0));
    let scenario = scenario.scheduler(facts(30_000, &known)).after(30_000);
    let replaces = plan(&scenario);
    assert_eq!((count(&replaces, "keep"), count(&replaces, "create")), (3, 1));

    // The new worker is available, and no other worker leaves before the old one is gone.
    let new = with_action(&replaces, "create").pop().expect("new worker");
    let known: Vec<(&str, u32, u64)> = known.into_iter().chain([(new.as_str(), 0, 0)]).collect();
    let base = change(group(3), json!(null));
    let mark = json!({metadata::ANNOTATION_TEMPLATE_HASH: "other",
        metadata::ANNOTATION_RETIRING_SINCE: time::format_exactly(START)});
    let mut leaving = pod("old-00", running());
    leaving["metadata"]["annotations"] = mark;
    let scenario = base
        .clone()
        .child(leaving)
        .child(made("old-01", "other", running()))
        .child(made("old-02", "other", running()))
        .child(made(&new, &hash(&base), running()));
    let goes_on = plan(&scenario.clone().scheduler(facts(40_000, &known)).after(40_000));
    assert_eq!((count(&goes_on, "keep"), goes_on.summary().len()), (4, 4));
    let gone = plan(&scenario.scheduler(facts(50_000, &known[1..])).after(50_000));
    assert_eq!(
        (count(&gone, "keep"), count(&gone, "apply"), gone.summary().len()),
        (2, 1, 3)
    );
}

/// A new worker cannot be scheduled, and the other workers have no memory for its results. There is no deadline.
#[test]
fn a_long_rollout_loses_no_results() {
    let base = change(group(3), json!(null));
    let unschedulable = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
    let mut leaving = marked("old-00", 0);
    leaving["metadata"]["annotations"][metadata::ANNOTATION_TEMPLATE_HASH] = json!("other");
    let scenario = base
        .clone()
        .child(leaving)
        .child(made("old-01", "other", running()))
        .child(made("old-02", "other", running()))
        .child(made("new", &hash(&base), unschedulable));
    let at = |scenario: &Scenario, processing: u32, bytes: u64, after: i64| {
        let known = [("old-00", processing, bytes), ("old-01", 0, 7), ("old-02", 0, 7)];
        let scenario = scenario.clone().scheduler(facts(after, &known)).after(after);
        (plan(&scenario), scenario)
    };
    let (held, stored) = at(&scenario, 0, 7, 40_000);
    let message = "1 of 3 workers are up to date; 1 worker is to leave and could not hand on all results (7 bytes) since \
                   2026-01-01T00:00:00Z: old-00; more workers or more memory would take them; to lose them, delete the pod; 1 new \
                   worker is not ready yet: Unschedulable: 0/1 nodes";
    assert_eq!(
        held.condition(WorkersUpToDate::TYPE),
        Some(format!("False WorkersHoldData: {message}"))
    );
    assert_eq!(
        held.condition(ScaleDownBlocked::TYPE),
        None,
        "nothing is scaled down"
    );
    assert_eq!(held.events(), [format!("RolloutBlocked: {message}")]);
    assert_eq!(held.0.requeue_after, None, "time alone changes nothing");
    let stored = stored.with(&held);
    for after in [300_000, 86_400_000] {
        let (later, _) = at(&stored, 1, 7, after);
        assert_eq!((count(&later, "keep"), later.summary().len()), (4, 4));
        assert_eq!(
            later.condition(WorkersUpToDate::TYPE),
            held.condition(WorkersUpToDate::TYPE)
        );
        assert_eq!(later.events(), [""; 0], "it is reported once");
    }
    // Tasks can be computed again, and `scaleDown: unsafe` permits the loss of results.
    let (computes, _) = at(&stored, 1, 0, 300_000);
    assert!(computes.events()[0].starts_with("DrainTimeout: 1 worker is deleted"));
    let without_care = stored.change(|group| group["spec"]["worker"]["scaleDown"] = json!("unsafe"));
    let (lost, _) = at(&without_care, 0, 7, 300_000);
    assert!(lost.events()[0].starts_with("DrainTimeout: 1 worker is deleted"));
}

#[test]
fn reports_workers_that_are_drained_before_their_replacement() {
    let base = half_way(1, 0, 1, json!(null));
    let scenario = with_mark(base.scheduler(facts(0, &[("old-00", 0, 0)])));
    let drains = plan(&scenario.clone().after(10));
    assert_eq!(
        drains.condition(WorkersReady::TYPE).as_deref(),
        Some(
            "False WorkersRetiring: 0 of 1 workers are ready; 1 worker is being drained, and replaced after that: old-00"
        )
    );
    let gone = plan(&scenario.scheduler(facts(20, &[("x", 0, 0)])).after(20));
    assert_eq!(count(&gone, "create"), 1);
    assert_eq!(
        gone.condition(WorkersReady::TYPE).as_deref(),
        Some("False WorkersStarting: 0 of 1 workers are ready")
    );
}

#[test]
fn a_broken_template_stops_the_rollout() {
    let base = group(3);
    let new = hash(&base);
    let crash = json!({"phase": "Running", "containerStatuses": [{"name": "worker", "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no module named numpy"}}}]});
    let scenario = base
        .child(made("new", &new, crash))
        .child(made("old-1", "other", running()))
        .child(made("old-2", "other", running()))
        .scheduler(facts(0, &[("old-1", 0, 0), ("old-2", 0, 0)]));
    let stopped = plan(&scenario);
    assert_eq!(count(&stopped, "keep"), 3);
    let condition = stopped.condition(WorkersUpToDate::TYPE).expect("condition");
    assert!(
        condition.contains("1 of 3 workers are up to date") && condition.contains("no module named numpy"),
        "{condition}"
    );

    // A new worker that is ready but never registers stops the rollout too.
    let silent = group(3)
        .child(made("new", &new, running()))
        .child(made("old-1", "other", running()))
        .child(made("old-2", "other", running()))
        .scheduler(facts(0, &[("old-1", 0, 0), ("old-2", 0, 0)]));
    assert_eq!(count(&plan(&silent), "keep"), 3);
}

#[test]
fn workers_that_never_became_ready_leave_first() {
    let scenario = group(3)
        .child(made("old-1", "other", pending()))
        .child(made("old-2", "other", pending()))
        .child(made("old-3", "other", running()))
        .scheduler(facts(0, &[("old-3", 0, 0)]));
    let first = plan(&scenario);
    assert_eq!(first.summary(), ["keep Pod old-3"]);
    let second = plan(&scenario.with(&first));
    assert_eq!((count(&second, "keep"), count(&second, "create")), (1, 2));
}

#[test]
fn unregistered_workers_are_replaced_one_by_one() {
    let scenario = group(3)
        .child(made("old-1", "other", running()))
        .child(made("old-2", "other", running()))
        .child(made("old-3", "other", running()))
        .scheduler(facts(0, &[("x", 0, 0)]));
    assert_eq!(count(&plan(&scenario), "apply"), 1);
}

#[test]
fn no_worker_is_replaced_while_the_scheduler_is_unreachable() {
    let scenario = half_way(2, 0, 2, json!(null));
    let held = plan(&scenario.clone().unreachable("no route"));
    assert_eq!(count(&held, "keep"), 2);
    assert_eq!(
        held.condition(WorkersUpToDate::TYPE).as_deref(),
        Some(
            "False SchedulerUnreachable: 0 of 2 workers are up to date; the others stay while the scheduler can't be \
             asked to move what they hold: no route"
        )
    );
    let said = scenario.clone().with(&held).parent()["status"].clone();
    let restarted = ["old-00", "old-01"]
        .iter()
        .fold(change(group(2), json!(null)), |scenario, name| {
            scenario.child(made(name, "other", running()))
        });
    let restarted = plan(&restarted.status(said));
    assert_eq!(
        (restarted.condition(WorkersUpToDate::TYPE), restarted.events()),
        (held.condition(WorkersUpToDate::TYPE), vec![]),
        "the condition stays until the next query"
    );
    let at_once = scenario
        .change(|group| group["spec"]["worker"]["scaleDown"] = json!("unsafe"))
        .unreachable("no");
    let first = plan(&at_once);
    assert_eq!(count(&first, "keep"), 2, "the scheduler may reply again");
    assert_eq!(count(&plan(&at_once.with(&first).after(30_000)), "keep"), 1);
}

#[test]
fn on_delete_changes_only_new_workers() {
    let scenario = half_way(2, 0, 3, json!({"type": "OnDelete"}));
    let plan = plan(&scenario);
    assert_eq!(
        (count(&plan, "keep"), count(&plan, "create"), retired(&plan)),
        (2, 1, None)
    );
    assert_eq!(
        plan.condition(WorkersUpToDate::TYPE).as_deref(),
        Some(
            "False OnDelete: 0 of 3 workers are up to date; the others are replaced when their pods are deleted \
             (update strategy OnDelete)"
        )
    );
}

#[test]
fn workers_without_a_hash_are_left_alone_until_a_restart_is_requested() {
    let known = facts(0, &[("a", 0, 0)]);
    let scenario = group(1).child(pod("a", running())).scheduler(known).after(10_000);
    assert_eq!(plan(&scenario).summary(), ["keep Pod a"]);
    for (restarted_at, expected) in [
        ("2026-01-01T00:00:05Z", "apply Pod a"),
        ("2025-12-31T00:00:00Z", "keep Pod a"),
    ] {
        let annotations =
            json!({"annotations": {metadata::ANNOTATION_RESTARTED_AT: restarted_at}, "name": "simple"});
        let group = scenario
            .clone()
            .change(|group| group["metadata"]["annotations"] = annotations["annotations"].clone());
        assert_eq!(plan(&group).summary(), [expected]);
        let mut cluster = cluster();
        cluster["metadata"] = annotations;
        assert_eq!(
            plan(&scenario.clone().related_instead(cluster)).summary(),
            [expected]
        );
    }
    let later = json!({metadata::ANNOTATION_RESTARTED_AT: "2026-01-01T00:01:00Z"});
    let later = plan(&scenario.change(|group| group["metadata"]["annotations"] = later));
    assert_eq!(
        (later.summary(), later.0.requeue_after),
        (vec!["keep Pod a".to_owned()], Some(50_000))
    );
}

#[test]
fn only_the_pod_spec_changes_the_hash() {
    let with = |change: fn(&mut Value)| hash(&group(1).change(change));
    let base = hash(&group(1));
    assert_eq!(base, with(|group| group["spec"]["worker"]["replicas"] = json!(7)));
    assert_eq!(
        base,
        with(|group| group["spec"]["worker"]["spec"] = json!({"volumes": null}))
    );
    assert_eq!(
        base,
        with(|group| group["metadata"]["annotations"] =
            json!({"kubernetes.dask.org/cluster-replicas": "4", "kubectl.kubernetes.io/x": "y"}))
    );
    assert_eq!(
        base,
        with(|group| group["metadata"]["labels"]["dask.org/component"] = json!("workergroup"))
    );
    // The defaults, written out, because the webhook stores the resource in that form.
    let defaulted = <DefaultWorkerGroup as Logic<WorkerGroup>>::default(
        group(1).parent().clone(),
        &crate::Settings::default(),
    );
    assert_eq!(
        base,
        hash(&Scenario::of_value(defaulted.expect("defaulted")).related(cluster()))
    );
    assert_ne!(
        base,
        with(|group| group["spec"]["worker"]["spec"] = json!({"nodeSelector": {"a": "b"}}))
    );
    // Labels and annotations are changed on existing pods.
    for same in [
        with(|group| group["spec"]["worker"]["metadata"] = json!({"labels": {"a": "b"}})),
        with(|group| group["metadata"]["annotations"] = json!({"a": "b"})),
        with(|group| group["metadata"]["labels"]["team"] = json!("other")),
    ] {
        assert_eq!(base, same);
    }
    // Additions by the operator are not part of the hash.
    assert_eq!(
        base,
        hash(&group(1).settings(&json!({"clusterDomain": "cluster.local", "batchSize": 1})))
    );
}

#[test]
fn applies_changed_labels_to_existing_workers() {
    let made = group(2).with(&plan(&group(2)));
    let changed = made.change(|group| {
        group["metadata"]["labels"]["team"] = json!("other");
        group["metadata"]["labels"]["helm.sh/chart"] = json!("x-2");
    });
    let first = plan(&changed);
    assert_eq!((count(&first, "apply Pod"), first.0.children.len()), (2, 2));
    assert_eq!(first.condition(WorkersUpToDate::TYPE), None);
    let names: Vec<&str> = first
        .0
        .children
        .iter()
        .map(|child| child.key.name.as_str())
        .collect();
    let labels = &first.object("Pod", names[0]).expect("pod")["metadata"]["labels"];
    assert_eq!(
        (&labels["team"], &labels["helm.sh/chart"]),
        (&json!("other"), &Value::Null)
    );
    let after = changed.with(&first);
    assert_eq!(count(&plan(&after), "keep"), 2, "a repeated plan changes nothing");
    // A retiring worker keeps its labels, because server-side apply removes omitted fields.
    let fewer = after
        .change(|group| group["spec"]["worker"]["replicas"] = json!(1))
        .scheduler(facts(0, &[(names[0], 0, 0), (names[1], 0, 0)]));
    let marked = plan(&fewer);
    let leaving = with_action(&marked, "apply");
    let mark = marked.object("Pod", &leaving[0]).expect("mark");
    assert_eq!(mark["metadata"]["labels"]["team"], "other");
}

/// The clock of the user who requests a restart may be ahead of the API server's.
#[test]
fn a_worker_created_for_a_restart_is_up_to_date() {
    let restarted = |time: &str| {
        group(1).change(|group| {
            group["metadata"]["annotations"] = json!({metadata::ANNOTATION_RESTARTED_AT: time})
        })
    };
    let scenario = restarted("2026-01-01T00:05:00Z").after(600_000);
    let first = plan(&scenario);
    let name = first.0.children[0].key.name.clone();
    let mut worker = first.object("Pod", &name).expect("worker");
    assert_eq!(
        worker["metadata"]["annotations"][metadata::ANNOTATION_RESTARTED_AT],
        "2026-01-01T00:05:00.000Z"
    );
    worker["apiVersion"] = json!("v1");
    worker["kind"] = json!("Pod");
    worker["metadata"]["name"] = json!(name);
    worker["metadata"]["creationTimestamp"] = json!("2026-01-01T00:04:00Z");
    worker["status"] = running();
    let facts = || facts(0, &[(&name, 0, 0)]);
    let made = plan(&scenario.child(worker.clone()).scheduler(facts()));
    assert_eq!(made.summary(), [format!("keep Pod {name}")]);
    assert_eq!(made.condition(WorkersUpToDate::TYPE), None);
    let again = restarted("2026-01-01T00:07:00Z")
        .after(600_000)
        .child(worker)
        .scheduler(facts());
    assert!(
        plan(&again).condition(WorkersUpToDate::TYPE).is_some(),
        "another restart"
    );
}
