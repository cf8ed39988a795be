//! Tests of the number of scheduler restarts.

use super::*;

fn restarted(uid: &str, restarts: u64) -> Value {
    let mut pod = pod(json!({
        "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "scheduler", "restartCount": restarts, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}],
    }));
    pod["metadata"]["uid"] = json!(uid);
    pod
}

#[test]
fn counts_replacements_and_container_restarts_once() {
    let mut status = json!({"phase": "Running"});
    let mut observe = |pod: Option<Value>| {
        let scenario = match pod {
            Some(pod) => complete_cluster(pod),
            None => simple()
                .child(service("ClusterIP", &Value::Null))
                .child(group(2, 2)),
        };
        let first = plan(&scenario.clone().status(status.clone()));
        status = first.status();
        let second = plan(&scenario.status(status.clone()));
        assert_eq!(
            (second.status(), second.events()),
            (status.clone(), vec![]),
            "a repeated plan changes nothing"
        );
        (status["schedulerRestarts"].as_u64().unwrap_or(0), first.events())
    };
    let message = |what: &str| {
        vec![format!(
            "SchedulerRestarted: {what}: tasks and results that it knew are gone, clients must submit again"
        )]
    };
    let container = |number: u64| {
        message(&format!(
            "the scheduler's container was started again (restart {number}; OOMKilled: container scheduler: it ended with code 137 (OOMKilled))"
        ))
    };
    assert_eq!(observe(Some(restarted("a", 0))), (0, vec![]));
    assert_eq!(observe(Some(restarted("a", 1))), (1, container(1)));
    assert_eq!(
        observe(Some(restarted("a", 3))),
        (3, container(3)),
        "one event for several restarts"
    );
    assert_eq!(
        observe(Some(restarted("a", 0))),
        (3, vec![]),
        "an outdated pod status counts nothing"
    );
    assert_eq!(
        observe(None),
        (4, message("the scheduler was lost and is replaced (restart 4)"))
    );
    assert_eq!(observe(Some(restarted("b", 0))), (4, vec![]));
    assert_eq!(
        observe(Some(restarted("c", 1))),
        (6, container(6)),
        "there was no plan between b and c"
    );
}

#[test]
fn a_crash_loop_reports_the_last_error() {
    let crashing = pod(json!({"phase": "Running", "containerStatuses": [{
        "name": "scheduler", "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error",
            "message": format!("{}\nModuleNotFoundError: No module named 'x'\n", "line\n".repeat(1000))}},
    }]}));
    let condition = plan(&complete_cluster(crashing))
        .condition("SchedulerReady")
        .expect("condition");
    assert!(condition.starts_with("False CrashLoopBackOff: "), "{condition}");
    assert!(
        condition.ends_with("ModuleNotFoundError: No module named 'x'"),
        "{condition}"
    );
    assert!(condition.len() < 800, "{}", condition.len());
}

#[test]
fn reports_a_missing_image_and_an_unschedulable_pod() {
    let pulling = pod(
        json!({"phase": "Pending", "containerStatuses": [{"name": "scheduler",
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}),
    );
    assert_eq!(
        plan(&complete_cluster(pulling)).condition("Available").as_deref(),
        Some("False ImagePullBackOff: pod simple-scheduler waits: container scheduler: no such image")
    );
    let unschedulable = pod(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/3 nodes are available"}]}),
    );
    assert_eq!(
        plan(&complete_cluster(unschedulable))
            .condition("Available")
            .as_deref(),
        Some("False Unschedulable: pod simple-scheduler waits: 0/3 nodes are available")
    );
}

#[test]
fn the_back_off_grows_when_schedulers_end_early() {
    let mut status = json!({"phase": "Running"});
    let (mut now, mut pauses, mut events) = (0, Vec::new(), Vec::new());
    for number in 0..7 {
        let made = time::format(START + now);
        let ended =
            json!({"exitCode": 2, "reason": "Error", "message": "no such option", "finishedAt": made});
        let mut failed = pod(json!({"phase": "Failed", "containerStatuses": [
            {"name": "scheduler", "state": {"terminated": ended}}]}));
        failed["metadata"]["uid"] = json!(format!("u{number}"));
        failed["metadata"]["creationTimestamp"] = json!(made);
        let first = plan(&complete_cluster(failed.clone()).status(status).after(now));
        assert!(first.summary().contains(&"keep Pod simple-scheduler".to_owned()));
        let pause = i64::try_from(first.0.requeue_after.unwrap_or_default()).unwrap_or_default();
        let condition = first.condition("SchedulerReady").unwrap_or_default();
        assert_eq!(
            condition,
            format!(
                "False SchedulerLost: pod simple-scheduler is lost (Error: container scheduler: it ended with code 2: no such \
                 option); a new one follows at {}",
                time::format(START + now + pause)
            )
        );
        events.extend(first.events());
        now += pause;
        let then = plan(&complete_cluster(failed).status(first.status()).after(now));
        assert!(!then.summary().contains(&"keep Pod simple-scheduler".to_owned()));
        events.extend(then.events());
        let made_anew = simple()
            .child(service("ClusterIP", &Value::Null))
            .child(group(2, 2))
            .status(then.status())
            .after(now);
        let made_anew = plan(&made_anew);
        events.extend(made_anew.events());
        status = made_anew.status();
        pauses.push(pause / 1000);
        now += 1000;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(
        events,
        [
            "SchedulerLost: the scheduler ended soon after its start (Error: container scheduler: it ended with code 2: no such \
             option) and is replaced at 2026-01-01T00:00:10Z, and later each time that it happens again"
        ]
    );
    assert_eq!(status["schedulerRestarts"], 7);
}

/// A lost node does not report that its pods are gone.
#[test]
fn reports_a_scheduler_whose_deletion_is_stuck() {
    let mut going = ready_pod();
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z");
    going["spec"] = json!({"nodeName": "n1"});
    let scenario = complete_cluster(going);
    let before = plan(&scenario.clone().after(149_000));
    assert_eq!(
        (
            before.condition("SchedulerReady").as_deref(),
            before.0.requeue_after
        ),
        (
            Some("False SchedulerTerminating: pod simple-scheduler is on its way out; a new one follows"),
            Some(1000)
        )
    );
    let stuck = scenario.after(150_000);
    let first = plan(&stuck);
    assert_eq!(
        first.condition("SchedulerReady").as_deref(),
        Some(
            "False SchedulerStuck: pod simple-scheduler was to be gone at 2026-01-01T00:00:30Z, and node n1 does not say that it is: \
             if that is lost, `kubectl delete pod simple-scheduler --force --grace-period=0`; a new scheduler follows then and \
             not before, because two would run otherwise"
        )
    );
    assert_eq!((first.events().len(), first.0.requeue_after), (1, None));
    assert_eq!(plan(&stuck.with(&first)).events(), [""; 0], "it is reported once");
}
