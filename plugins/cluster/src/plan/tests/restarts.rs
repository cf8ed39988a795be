//! How often a scheduler was started anew.

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
fn replacements_and_restarts_of_the_container_are_counted_once() {
    let mut status = json!({"phase": "Running"});
    let mut look = |pod: Option<Value>| {
        let scenario = match pod {
            Some(pod) => whole(pod),
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
            "twice is the same"
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
            "the scheduler's container was started again (restart {number}; OOMKilled: it ended with code 137 (OOMKilled))"
        ))
    };
    assert_eq!(look(Some(restarted("a", 0))), (0, vec![]));
    assert_eq!(look(Some(restarted("a", 1))), (1, container(1)));
    assert_eq!(
        look(Some(restarted("a", 3))),
        (3, container(3)),
        "one event for what was not seen one by one"
    );
    assert_eq!(
        look(Some(restarted("a", 0))),
        (3, vec![]),
        "a status that is older counts nothing"
    );
    assert_eq!(
        look(None),
        (4, message("the scheduler was lost and is replaced (restart 4)"))
    );
    assert_eq!(look(Some(restarted("b", 0))), (4, vec![]));
    assert_eq!(
        look(Some(restarted("c", 1))),
        (6, container(6)),
        "nobody looked between b and c"
    );
}

#[test]
fn a_crash_loop_says_how_it_ended() {
    let crashing = pod(json!({"phase": "Running", "containerStatuses": [{
        "name": "scheduler", "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error",
            "message": format!("{}\nModuleNotFoundError: No module named 'x'\n", "line\n".repeat(1000))}},
    }]}));
    let condition = plan(&whole(crashing))
        .condition("SchedulerReady")
        .expect("a condition");
    assert!(condition.starts_with("False CrashLoopBackOff: "), "{condition}");
    assert!(
        condition.ends_with("ModuleNotFoundError: No module named 'x'"),
        "{condition}"
    );
    assert!(condition.len() < 800, "{}", condition.len());
}

#[test]
fn an_image_that_is_not_there() {
    let pulling = pod(
        json!({"phase": "Pending", "containerStatuses": [{"name": "scheduler",
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}),
    );
    assert_eq!(
        plan(&whole(pulling)).condition("Available").as_deref(),
        Some("False ImagePullBackOff: pod simple-scheduler waits: container scheduler: no such image")
    );
    let unschedulable = pod(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/3 nodes are available"}]}),
    );
    assert_eq!(
        plan(&whole(unschedulable)).condition("Available").as_deref(),
        Some("False Unschedulable: pod simple-scheduler waits: 0/3 nodes are available")
    );
}
