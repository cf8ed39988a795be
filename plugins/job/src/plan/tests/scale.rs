//! Who scales the cluster of a job keeps the number.

use dask_operator_plugin::dask::metadata::CLUSTER_REPLICAS;

use super::*;

/// The number of workers of the job's cluster, which is like this and has a runner.
fn replicas(job: Scenario, cluster: Value) -> Value {
    let scenario = job.status(has_run()).child(runner(running())).child(cluster);
    plan(&scenario).object("DaskCluster", "j").expect("cluster")["spec"]["worker"]["replicas"].take()
}

fn scaled(passed_on: Option<&str>) -> Value {
    let mut cluster = cluster();
    cluster["metadata"]["annotations"] = json!({CLUSTER_REPLICAS: passed_on});
    cluster["spec"] = json!({"worker": {"replicas": 7}});
    cluster
}

#[test]
fn the_number_is_passed_on_when_the_job_changes_it() {
    let changed = job().change(|job| job["spec"]["cluster"]["spec"]["worker"]["replicas"] = json!(4));
    assert_eq!(
        replicas(job(), scaled(Some("2"))),
        7,
        "somebody scaled the cluster"
    );
    assert_eq!(
        replicas(changed, scaled(Some("2"))),
        4,
        "somebody changed the job"
    );
    assert_eq!(
        replicas(job(), scaled(None)),
        7,
        "a cluster of an operator before"
    );
    let first = plan(&job().status(has_run()).child(runner(running())).child(cluster()));
    let cluster = first.object("DaskCluster", "j").expect("cluster");
    assert_eq!(cluster["metadata"]["annotations"][CLUSTER_REPLICAS], "2");
}
