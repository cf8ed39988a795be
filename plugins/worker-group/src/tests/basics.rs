//! Tests of the creation and replacement of workers.

use super::*;

#[test]
fn plans_the_workers_of_a_new_group() {
    let plan = plan(&group(3));
    assert_eq!(count(&plan, "create Pod"), 3);
    let name = plan.0.children[0].key.name.clone();
    let pod = plan.object("Pod", &name).expect("pod");
    assert_eq!(
        pod["spec"]["containers"][0]["env"],
        json!([
            {"name": "DASK_WORKER_NAME", "value": name},
            {"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://simple-scheduler.default.svc:8786"},
        ])
    );
    let labels = &pod["metadata"]["labels"];
    assert_eq!(
        (&labels["team"], &labels["from"]),
        (&json!("group"), &json!("cluster"))
    );
    assert_eq!(labels["sidecar.istio.io/inject"], "false");
    assert_eq!(
        plan.status(),
        json!({
            "replicas": 0, "readyReplicas": 0, "updatedReplicas": 0, "observedGeneration": 4,
            "selector": "dask.org/cluster-name=simple,dask.org/component=worker,dask.org/workergroup-name=simple-default",
        })
    );
    assert_eq!(
        plan.condition(WorkersReady::TYPE).as_deref(),
        Some("False WorkersStarting: 0 of 3 workers are ready")
    );
    assert_eq!(
        plan.0.owner.as_ref().map(|owner| owner.kind.as_str()),
        Some("DaskCluster")
    );
}

#[test]
fn a_repeated_plan_uses_the_same_names() {
    let all = plan(&group(5));
    let mut half = group(5).with(&all);
    let third = all.0.children[2].key.name.clone();
    half = Scenario::of_value(half.parent().clone()).related(cluster());
    for child in all.0.children.iter().filter(|child| child.key.name != third) {
        half = half.child(pod(&child.key.name, pending()));
    }
    let rest = plan(&half);
    assert_eq!(count(&rest, "keep"), 4);
    assert_eq!(
        rest.summary().last().map(String::as_str),
        Some(format!("create Pod {third}").as_str())
    );
}

#[test]
fn a_repeated_plan_changes_nothing() {
    let scenario = group(20);
    let after = scenario.clone().with(&plan(&scenario));
    assert_eq!(count(&plan(&after), "keep"), 20);
    assert_eq!(plan(&after).0.children.len(), 20);
}

#[test]
fn lost_workers_are_replaced_after_they_are_gone() {
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
    let scenario = group(2)
        .child(pod("a", evicted))
        .child(pod("b", running()))
        .after(10_000);
    let first = plan(&scenario);
    assert_eq!(
        first.summary(),
        ["keep Pod b"],
        "a is deleted, and its successor does not exist yet"
    );
    assert_eq!(
        first.events(),
        [
            "WorkerLost: 1 worker ended soon after its start (Evicted: low on memory) and is replaced now, and later each \
             time that it happens again: a"
        ]
    );
    assert_eq!(first.status()["replicas"], 1);
    let second = plan(&group(2).child(pod("b", running())));
    assert_eq!(count(&second, "create"), 1);
    assert_eq!(second.events(), [""; 0]);
}

/// A node that rejects all pods must not receive thousands of them.
#[test]
fn workers_that_end_early_are_replaced_after_a_back_off() {
    let refused = json!({"phase": "Failed", "reason": "OutOfcpu", "message": "no cpu"});
    let scenario = group(2).child(pod("a", refused)).child(pod("b", running()));
    let first = plan(&scenario.clone().after(1000));
    assert_eq!(first.summary(), ["keep Pod b", "keep Pod a"]);
    assert_eq!(
        (first.events(), first.0.requeue_after),
        (
            vec![
                "WorkerLost: 1 worker ended soon after its start (OutOfcpu: no cpu) and is replaced at 2026-01-01T00:00:10Z, and \
                 later each time that it happens again: a"
                    .to_owned()
            ],
            Some(9000)
        )
    );
    assert_eq!(
        first.condition(WorkersReady::TYPE).as_deref(),
        Some(
            "False OutOfcpu: 1 of 2 workers are ready; 1 wait: OutOfcpu (no cpu); those that have ended are replaced at \
             2026-01-01T00:00:10Z"
        )
    );
    let then = plan(&scenario.status(first.status()).after(10_000));
    assert_eq!(
        (then.summary(), then.events()),
        (vec!["keep Pod b".to_owned()], vec![])
    );
}

/// Pulling an image may take minutes.
#[test]
fn the_time_to_pull_the_image_does_not_count_as_run_time() {
    let ended = json!({"exitCode": 1, "reason": "Error",
        "startedAt": "2026-01-01T00:03:00Z", "finishedAt": "2026-01-01T00:03:01Z"});
    let failed =
        json!({"phase": "Failed", "containerStatuses": [{"name": "worker", "state": {"terminated": ended}}]});
    let plan = plan(&group(1).child(pod("a", failed)).after(182_000));
    assert_eq!(
        (plan.summary(), plan.0.requeue_after),
        (vec!["keep Pod a".to_owned()], Some(9000))
    );
    assert_eq!(
        plan.status()["backoff"]["message"],
        "container worker: it ended with code 1"
    );
}

/// Only the passing of time reveals that a volume is not mounted.
#[test]
fn reports_missing_volumes_after_a_minute() {
    let mut waiting = pod(
        "a",
        json!({
            "phase": "Pending",
            "conditions": [{"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "containerStatuses": [{"name": "worker", "state": {"waiting": {"reason": "ContainerCreating"}}}],
        }),
    );
    waiting["spec"] = json!({"nodeName": "n"});
    let scenario = group(1).child(waiting);
    let early = plan(&scenario.clone().after(59_000));
    assert_eq!(
        (
            early.condition(WorkersReady::TYPE).as_deref(),
            early.0.requeue_after
        ),
        (
            Some("False WorkersStarting: 0 of 1 workers are ready"),
            Some(1000)
        )
    );
    let late = plan(&scenario.after(60_000));
    let condition = late.condition(WorkersReady::TYPE).expect("condition");
    assert!(
        condition.starts_with(
            "False ContainersNotCreated: 0 of 1 workers are ready; 1 wait: ContainersNotCreated (since "
        ),
        "{condition}"
    );
    assert_eq!(late.0.requeue_after, None);
}

#[test]
fn the_back_off_grows_with_one_event_for_each_reason() {
    let mut status = json!({});
    let (mut now, mut pauses, mut events) = (1_000, Vec::new(), Vec::new());
    for number in 0..8 {
        let name = format!("w{number}");
        let made = time::format(START + now);
        let reason = if number < 6 { "Error" } else { "OOMKilled" };
        let mut failed = pod(
            &name,
            json!({"phase": "Failed", "containerStatuses": [
                {"name": "worker", "state": {"terminated": {"exitCode": 1, "reason": reason, "finishedAt": made}}}]}),
        );
        failed["metadata"]["uid"] = json!(name);
        failed["metadata"]["creationTimestamp"] = json!(made);
        let scenario = group(1).child(failed);
        let first = plan(&scenario.clone().status(status.clone()).after(now));
        assert_eq!(first.summary(), [format!("keep Pod {name}")]);
        let pause = i64::try_from(first.0.requeue_after.unwrap_or_default()).unwrap_or_default();
        events.extend(first.events());
        let again = plan(&scenario.clone().status(first.status()).after(now + 1));
        assert_eq!(again.events(), [""; 0]);
        now += pause;
        let then = plan(&scenario.status(first.status()).after(now));
        assert_eq!((then.summary(), then.events()), (vec![], vec![]), "it is deleted");
        status = then.status();
        pauses.push(pause / 1000);
        now += 1000;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(
        events[0].contains("(Error: container worker: it ended with code 1)"),
        "{events:?}"
    );
    // The back-off does not apply to workers of another template.
    let mut outdated = pod("old", json!({"phase": "Failed", "reason": "Error"}));
    outdated["metadata"]["annotations"] = json!({"kubernetes.dask.org/template-hash": "another"});
    let mended = plan(&group(1).child(outdated).status(status).after(1000));
    assert_eq!(mended.summary(), [""; 0]);
}

#[test]
fn terminating_workers_stay_but_do_not_count() {
    let mut going = pod("a", running());
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let plan = plan(&group(2).child(going).child(pod("b", running())));
    assert_eq!((count(&plan, "keep"), count(&plan, "create")), (2, 1));
    assert_eq!(plan.status()["replicas"], 1);
}

#[test]
fn scaling_down_deletes_only_workers_that_never_started() {
    let creating = json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]});
    let base = group(1)
        .child(pod("a", running()))
        .child(pod("b", running()))
        .child(pod("c", creating))
        .child(pod("d", pending()));
    let first = plan(&base);
    assert_eq!(first.summary(), ["keep Pod a", "keep Pod b"]);
    assert_eq!(
        first.condition(ScaleDownBlocked::TYPE).as_deref(),
        Some(
            "True SchedulerNotAsked: 1 worker is to leave and held back until the scheduler was asked who holds what"
        )
    );
    assert_eq!(
        (first.events(), retired(&first)),
        (vec![], Some(vec![])),
        "it is queried"
    );
}

#[test]
fn unscheduled_and_newest_workers_leave_first() {
    let mut scheduled = pod("a", pending());
    scheduled["spec"] = json!({"nodeName": "n"});
    let mut newer = pod("c", pending());
    newer["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:09Z");
    let base = |replicas| {
        group(replicas)
            .child(scheduled.clone())
            .child(pod("b", pending()))
            .child(newer.clone())
    };
    assert_eq!(plan(&base(2)).summary(), ["keep Pod a", "keep Pod b"]);
    assert_eq!(plan(&base(1)).summary(), ["keep Pod a"]);
    assert_eq!(plan(&base(0)).summary(), [""; 0]);
}

#[test]
fn creates_workers_in_batches() {
    let settings = json!({"batchSize": 2, "delay": 10});
    let first = plan(&group(5).settings(&settings));
    assert_eq!(
        (count(&first, "create"), first.0.requeue_after),
        (2, Some(10_000))
    );
    let two = group(5)
        .settings(&settings)
        .child(pod("a", pending()))
        .child(pod("b", pending()));
    let early = plan(&two.clone().after(4000));
    assert_eq!((count(&early, "create"), early.0.requeue_after), (0, Some(6000)));
    let due = plan(&two.after(10_000));
    assert_eq!((count(&due, "create"), due.0.requeue_after), (2, Some(10_000)));
    let last = plan(&group(2).settings(&settings));
    assert_eq!((count(&last, "create"), last.0.requeue_after), (2, None));
}

#[test]
fn plans_many_workers_as_one_object_and_copies() {
    let plan = plan(&group(1000));
    let copies = plan
        .0
        .children
        .iter()
        .filter(|child| child.action == ChildAction::Copy(0));
    assert_eq!((plan.0.children.len(), copies.count()), (1000, 999));
    for child in [&plan.0.children[0], &plan.0.children[999]] {
        let pod = plan.object_of(child).expect("an object");
        let environment = pod["spec"]["containers"][0]["env"].as_array().expect("variables");
        let name = environment
            .iter()
            .find(|variable| variable["name"] == "DASK_WORKER_NAME");
        assert_eq!(name.expect("the variable")["value"], child.key.name.as_str());
    }
}

/// The names are the same for each plan of this group. So a pod spec can contain the name of the first worker.
#[test]
fn a_name_in_the_pod_spec_is_not_copied() {
    let first = plan(&group(2)).0.children[0].key.name.clone();
    let scenario = group(2).change(|group| {
        group["spec"]["worker"]["spec"]["hostname"] = json!(first);
    });
    let plan = plan(&scenario);
    assert_eq!(plan.0.children.len(), 2);
    for child in &plan.0.children {
        assert_ne!(child.key.name, first);
        assert_eq!(
            plan.object_of(child).expect("an object")["spec"]["hostname"],
            first.as_str()
        );
    }
}

#[test]
fn limits_a_group_to_20_000_workers() {
    let plan = plan(&group(1_000_000));
    assert_eq!(plan.0.children.len(), 20_000);
    assert_eq!(
        plan.condition(WorkersReady::TYPE).as_deref(),
        Some(
            "False TooManyWorkers: 0 of 1000000 workers are ready; a group can have 20000 workers: lower spec.worker.replicas, and make further groups for the rest"
        )
    );
}

#[test]
fn existing_deployments_are_workers() {
    let deployment = |name: &str, ready: u32| {
        json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "status": {"readyReplicas": ready}})
    };
    let plan = plan(&group(3).child(deployment("x", 1)).child(deployment("y", 0)));
    assert_eq!(
        (count(&plan, "keep Deployment"), count(&plan, "create Pod")),
        (2, 1)
    );
    assert_eq!(
        (&plan.status()["replicas"], &plan.status()["readyReplicas"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn does_not_reuse_names_that_the_scheduler_knows() {
    let first = plan(&group(1)).0.children[0].key.name.clone();
    let facts = answer(START, vec![worker(first.as_str(), "tcp://10.0.0.1:1")]);
    assert_ne!(plan(&group(1).scheduler(facts)).0.children[0].key.name, first);
}

#[test]
fn deletes_nothing_without_a_cluster() {
    let alone = Scenario::of_value(group(5).parent().clone()).child(pod("a", running()));
    let plan = plan(&alone);
    assert_eq!(plan.summary(), ["keep Pod a"]);
    assert_eq!(plan.0.requeue_after, Some(CLUSTER_RETRY));
    assert!(
        plan.condition(WorkersReady::TYPE)
            .is_some_and(|text| text.contains("ClusterNotFound"))
    );
}

#[test]
fn reports_the_most_common_problem() {
    let waiting = |reason: &str| {
        json!({"phase": "Pending", "containerStatuses": [
        {"name": "worker", "state": {"waiting": {"reason": reason, "message": "m"}}}]})
    };
    let scenario = group(3)
        .child(pod("a", waiting("ErrImagePull")))
        .child(pod("b", waiting("ImagePullBackOff")))
        .child(pod("c", waiting("ImagePullBackOff")));
    assert_eq!(
        plan(&scenario).condition(WorkersReady::TYPE).as_deref(),
        Some(
            "False ImagePullBackOff: 0 of 3 workers are ready; 2 wait: ImagePullBackOff (container worker: m)"
        )
    );
}

/// Some node providers without a kubelet write sentences as reasons, while Kubernetes writes single words.
#[test]
fn reduces_a_reason_to_one_word() {
    let waiting = json!({"phase": "Pending", "containerStatuses": [
        {"name": "worker", "state": {"waiting": {"reason": "Waiting for capacity", "message": "m"}}}]});
    let plan = plan(&group(1).child(pod("a", waiting)));
    assert_eq!(
        plan.condition(WorkersReady::TYPE).as_deref(),
        Some(
            "False WaitingForCapacity: 0 of 1 workers are ready; 1 wait: WaitingForCapacity (container worker: m)"
        )
    );
}

#[test]
fn rejects_an_invalid_group() {
    let error = group(1).change(|group| group["spec"]["worker"]["replicas"] = json!(-1));
    let error = error
        .plan::<WorkerGroup, DefaultWorkerGroup>()
        .expect_err("invalid");
    assert!(matches!(error, Error::Invalid(findings) if findings[0].field == "spec.worker.replicas"));
}

#[test]
fn reports_mistakes_in_a_condition() {
    let volume = json!([{"name": "v", "secret": {"secretName": "s", "defaultMode": 400}}]);
    let mistaken = group(1).change(|group| group["spec"]["worker"]["spec"]["volumes"] = volume);
    let condition = plan(&mistaken).condition("SpecQuestionable").expect("condition");
    let beginning = "True Mistakes: spec.worker.spec.volumes[0].secret.defaultMode: 400 is a decimal number";
    assert!(condition.starts_with(beginning), "{condition}");
    assert_eq!(plan(&group(1)).condition("SpecQuestionable"), None);
}

#[test]
fn reports_the_scheduling_gates_of_pods() {
    let gates = json!([{"name": "example.com/wait-for-dataset"}]);
    let gated = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates"}]});
    let plan = plan(
        &group(1)
            .change(|group| group["spec"]["worker"]["spec"]["schedulingGates"] = gates)
            .child(pod("a", gated)),
    );
    let condition = plan.condition(WorkersReady::TYPE).expect("condition");
    assert!(
        condition.starts_with("False SchedulingGated: 0 of 1 workers are ready; 1 wait: SchedulingGated (")
            && condition.ends_with("; gates of its spec: example.com/wait-for-dataset"),
        "{condition}"
    );
    assert_eq!(count(&plan, "create Pod"), 0, "it waits and is not replaced");
}
