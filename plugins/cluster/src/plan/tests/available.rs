//! Tests of the condition `Available`.

use super::*;

fn started_pod(started: &str, restarts: u64) -> Value {
    pod(json!({
        "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{
            "name": "scheduler", "restartCount": restarts, "ready": true, "state": {"running": {"startedAt": started}},
        }],
    }))
}

fn available(plan: &Outcome) -> String {
    let text = plan.condition("Available").unwrap_or_default();
    text.split(':').next().unwrap_or_default().to_owned()
}

#[test]
fn tests_the_connection_once_for_each_start() {
    let ready = complete_cluster(started_pod("2026-01-01T00:00:00Z", 0));
    let first = plan(&ready);
    assert_eq!(available(&first), "False SchedulerNotAsked");
    let request = first.0.scheduler.as_ref().expect("scheduler query");
    assert_eq!(request.questions, [SchedulerQuestion::Workers]);

    let answered = plan(&ready.clone().scheduler(answer(START, Vec::new())).with(&first));
    assert_eq!(
        (available(&answered).as_str(), &answered.0.scheduler),
        ("True SchedulerReachable", &None)
    );
    let later = ready.clone().with(&answered);
    let kept = plan(&later);
    assert_eq!(
        (available(&kept).as_str(), &kept.0.scheduler),
        ("True SchedulerReachable", &None)
    );

    let restarted =
        complete_cluster(started_pod("2026-01-01T00:00:01Z", 1)).status(later.parent()["status"].clone());
    let again = plan(&restarted);
    assert_eq!(available(&again), "False SchedulerNotAsked");
    assert!(again.0.scheduler.is_some());
    let with_old_facts = restarted.scheduler(answer(START, Vec::new()));
    let old = plan(&with_old_facts);
    assert_eq!(
        (available(&old).as_str(), old.0.requeue_after),
        ("False SchedulerNotAsked", Some(5000)),
        "the facts are from the previous start"
    );
    // The same is true if the idle time is queried as well.
    let idle = SchedulerFacts {
        idle_since: Some(START),
        ..answer(START, Vec::new())
    };
    let both = with_old_facts
        .change(|cluster| cluster["spec"]["idleTimeout"] = json!(3600))
        .scheduler(idle);
    assert_eq!(plan(&both).0.requeue_after, Some(5000));
}

#[test]
fn a_lower_restart_count_is_not_a_restart() {
    let status = json!({
        "phase": "Running", "schedulerUid": "uid-of-simple-scheduler", "schedulerRestarts": 3,
        "schedulerContainerRestarts": 3,
        "conditions": [{"type": "Available", "status": "True", "reason": "SchedulerReachable"}],
    });
    let kept = plan(&complete_cluster(started_pod("2026-01-01T00:00:00Z", 0)).status(status));
    assert_eq!(
        (available(&kept).as_str(), &kept.0.scheduler),
        ("True SchedulerReachable", &None)
    );
    assert_eq!(kept.status()["schedulerContainerRestarts"], 3);
}

#[test]
fn a_scheduler_that_does_not_reply_is_not_available() {
    let silent = plan(&complete_cluster(ready_pod()).unreachable("tcp://10.0.0.1:8786: connection refused"));
    assert_eq!(
        silent.condition("Available").as_deref(),
        Some(
            "False SchedulerUnreachable: the scheduler's pod is ready, and nothing answers at the comm port of its Service: \
             tcp://10.0.0.1:8786: connection refused; look whether the scheduler listens on the targetPort of \
             spec.scheduler.service.ports[name=tcp-comm], and whether a NetworkPolicy keeps the operator away; if its settings \
             turn TLS on, write `--protocol`, `tls` in spec.scheduler.spec.containers[0].args, because the operator does not see \
             them"
        )
    );
    assert!(silent.0.scheduler.is_some());
    // After a restart of the operator the condition stays until the next attempt, unless the scheduler was restarted.
    let again = plan(&complete_cluster(ready_pod()).with(&silent));
    assert_eq!(again.condition("Available"), silent.condition("Available"));
    assert!(again.0.scheduler.is_some());
    let restarted =
        complete_cluster(started_pod("2026-01-01T00:00:01Z", 1)).status(json!({"schedulerUid": "uid-of-simple-scheduler",
            "conditions": [{"type": "Available", "status": "False", "reason": "SchedulerUnreachable", "message": "m"}]}));
    assert_eq!(available(&plan(&restarted)), "False SchedulerNotAsked");
}

#[test]
fn a_failed_tls_connection_is_unknown() {
    let tls = complete_cluster(ready_pod()).change(|cluster| {
        cluster["spec"]["scheduler"]["spec"]["containers"] =
            json!([{"name": "scheduler", "image": "i", "args": ["dask", "scheduler", "--protocol", "tls"]}]);
    });
    let plan = plan(&tls.unreachable("certificate required"));
    assert_eq!(available(&plan), "Unknown SchedulerUnreachable");
}
