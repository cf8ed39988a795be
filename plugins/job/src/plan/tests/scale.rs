//! Tests of scaling the cluster of a job: a scaled number of workers stays.

use dask_operator_plugin::dask::metadata::ANNOTATION_CLUSTER_REPLICAS;

use super::*;

/// Returns the number of workers in the plan for a job with this cluster and a runner.
fn replicas(job: Scenario, cluster: Value) -> Value {
    let scenario = job.status(has_run()).child(runner(running())).child(cluster);
    plan(&scenario).object("DaskCluster", "j").expect("cluster")["spec"]["worker"]["replicas"].take()
}

fn scaled(annotation: Option<&str>) -> Value {
    let mut cluster = cluster();
    cluster["metadata"]["annotations"] = json!({ANNOTATION_CLUSTER_REPLICAS: annotation});
    cluster["spec"] = json!({"worker": {"replicas": 7}});
    cluster
}

#[test]
fn changes_the_number_only_when_the_job_changes() {
    let changed = job().change(|job| job["spec"]["cluster"]["spec"]["worker"]["replicas"] = json!(4));
    assert_eq!(replicas(job(), scaled(Some("2"))), 7, "the cluster was scaled");
    assert_eq!(replicas(changed, scaled(Some("2"))), 4, "the job was changed");
    assert_eq!(
        replicas(job(), scaled(None)),
        7,
        "the cluster is from an older operator"
    );
    let first = plan(&job().status(has_run()).child(runner(running())).child(cluster()));
    let cluster = first.object("DaskCluster", "j").expect("cluster");
    assert_eq!(
        cluster["metadata"]["annotations"][ANNOTATION_CLUSTER_REPLICAS],
        "2"
    );
}
