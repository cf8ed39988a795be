//! Tests of `suspend`.

use super::*;

fn suspended(scenario: Scenario, suspend: bool) -> Scenario {
    scenario.change(|cluster| cluster["spec"]["suspend"] = json!(suspend))
}

#[test]
fn a_suspended_cluster_has_no_scheduler() {
    let seen = json!({"phase": "Running", "schedulerUid": "uid-of-simple-scheduler"});
    let running = complete_cluster(ready_pod()).status(seen);
    let first = plan(&suspended(running.clone(), true));
    assert_eq!(first.summary(), WITHOUT_SCHEDULER);
    assert_eq!(first.status()["phase"], "Pending");
    for type_ in ["Available", "SchedulerReady", "WorkersReady"] {
        assert_eq!(
            first.condition(type_).as_deref(),
            Some("False Suspended: the cluster is suspended")
        );
    }
    assert_eq!(first.0.events.len(), 1);
    let second = suspended(running, true).with(&first);
    assert_eq!(plan(&second).events(), [""; 0]);

    // The cluster is resumed while the scheduler is being deleted, which is not a loss.
    let mut going = ready_pod();
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let status = second.parent()["status"].clone();
    let third = plan(&suspended(complete_cluster(going), false).status(status.clone()));
    assert_eq!(third.summary()[0], "keep Pod simple-scheduler");
    assert_eq!(
        third.events(),
        ["ClusterResumed: the cluster is no longer suspended"]
    );
    let gone = suspended(simple(), false)
        .child(service("ClusterIP", &Value::Null))
        .child(group(2, 0));
    let fourth = plan(&gone.status(third.status()));
    assert_eq!(fourth.summary()[0], "create Pod simple-scheduler");
    assert_eq!(
        (fourth.events(), &fourth.status()["schedulerRestarts"]),
        (vec![], &Value::Null)
    );
    assert_eq!(fourth.status()["phase"], "Pending");
}

#[test]
fn a_new_suspended_cluster_starts_as_created() {
    let new = suspended(simple(), true);
    let first = plan(&new);
    assert_eq!(first.status()["phase"], "Created");
    assert_eq!(first.summary(), WITHOUT_SCHEDULER);
    assert_eq!(plan(&new.with(&first)).status()["phase"], "Pending");
}
