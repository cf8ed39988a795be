//! Tests of idle clusters.

use super::*;

const SAID: &str = "2026-01-01T00:01:30Z";

fn idle_cluster(said: &str, reason: &str) -> Value {
    let mut cluster = cluster();
    cluster["spec"] = json!({"idleTimeout": 60});
    cluster["status"] = json!({"conditions": [{
        "type": "Idle", "status": "True", "reason": reason, "message": "nothing to do", "lastTransitionTime": said}]});
    cluster
}

fn running_with(cluster: Value) -> Scenario {
    job().status(has_run()).child(cluster).child(runner(running()))
}

#[test]
fn reports_and_deletes_an_idle_cluster() {
    let scenario = running_with(idle_cluster(SAID, "IdleTimeout")).after(90_000);
    let first = plan(&scenario);
    assert_eq!(first.summary(), ["keep Pod j-runner", "apply DaskCluster j"]);
    assert_eq!(
        first.condition("ClusterIdle").as_deref(),
        Some("True IdleTimeout: nothing to do: it is deleted, the runner goes on")
    );
    assert_eq!(first.0.events.len(), 1);
    let second = plan(&scenario.with(&first));
    assert_eq!(
        (second.summary(), second.events()),
        (vec!["keep Pod j-runner".to_owned()], vec![])
    );
    let gone = job().child(runner(running())).status(second.status());
    let third = plan(&gone);
    assert_eq!(third.summary(), ["keep Pod j-runner"], "it is not made again");
    assert!(third.condition("ClusterIdle").is_some());
    assert_eq!(third.status()["jobStatus"], "Running");
    // A restart of the code needs a cluster again.
    let mut restarted = running();
    restarted["containerStatuses"][0]["restartCount"] = json!(1);
    let fourth = plan(&job().child(runner(restarted)).status(third.status()));
    assert_eq!(fourth.summary(), ["keep Pod j-runner", "apply DaskCluster j"]);
    assert_eq!(fourth.condition("ClusterIdle"), None);
}

#[test]
fn the_idle_time_counts_from_the_start_of_the_code() {
    // The code started ten seconds after the start of the test.
    let early = "2026-01-01T00:00:05Z";
    let at = |milliseconds: i64| plan(&running_with(idle_cluster(early, "IdleTimeout")).after(milliseconds));
    let waiting = at(30_000);
    assert_eq!(
        (waiting.condition("ClusterIdle"), waiting.0.requeue_after),
        (None, Some(40_000))
    );
    assert!(at(70_000).condition("ClusterIdle").is_some());
    let pending = job().child(idle_cluster(early, "IdleTimeout"));
    let pending = pending.child(runner(json!({"phase": "Pending"}))).after(500_000);
    assert_eq!(plan(&pending).condition("ClusterIdle"), None);
    let soon = running_with(idle_cluster(SAID, "IdleTimeoutSoon")).after(90_000);
    assert_eq!(plan(&soon).condition("ClusterIdle"), None);
}
