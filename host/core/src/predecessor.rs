//! Children that dask-kubernetes, the operator's predecessor, creates for Dask resources.

use crate::names::{
    COMPONENT_RUNNER, COMPONENT_SCHEDULER, COMPONENT_WORKER, COMPONENT_WORKER_GROUP, DASK_API_VERSION,
    DEFAULT_GROUP, RUNNER, SCHEDULER,
};
use crate::parent::{DaskKind, Parent};
use crate::plan::ResourceKind;

/// Returns whether dask-kubernetes creates a child of this kind and name for `parent`. `component` is the value of the child's
/// label `dask.org/component`, if any.
#[must_use]
pub fn makes(parent: &Parent, kind: &ResourceKind, name: &str, component: Option<&str>) -> bool {
    let Some(rest) = name.strip_prefix(&*parent.name) else {
        return false;
    };
    let is_dask = kind.api_version == DASK_API_VERSION;
    match (parent.kind, &*kind.kind, rest, component) {
        (DaskKind::Cluster, "Pod" | "Deployment" | "Service", SCHEDULER, Some(COMPONENT_SCHEDULER))
        | (DaskKind::Job, "Pod", RUNNER, Some(COMPONENT_RUNNER)) => !is_dask,
        (DaskKind::Cluster, "DaskWorkerGroup", DEFAULT_GROUP, Some(COMPONENT_WORKER_GROUP))
        | (DaskKind::Job, "DaskCluster", "", _) => is_dask,
        (DaskKind::WorkerGroup, "Pod" | "Deployment", rest, Some(COMPONENT_WORKER)) => {
            !is_dask && rest.starts_with("-worker-")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::scheduler(
        DaskKind::Cluster,
        "apps/v1 Deployment",
        "a-scheduler",
        Some("scheduler"),
        true
    )]
    #[case::service(DaskKind::Cluster, "v1 Service", "a-scheduler", Some("scheduler"), true)]
    #[case::another_service(DaskKind::Cluster, "v1 Service", "a-dashboard", Some("scheduler"), false)]
    #[case::without_component(DaskKind::Cluster, "v1 Service", "a-scheduler", None, false)]
    #[case::group(
        DaskKind::Cluster,
        "kubernetes.dask.org/v1 DaskWorkerGroup",
        "a-default",
        Some("workergroup"),
        true
    )]
    #[case::another_group(
        DaskKind::Cluster,
        "kubernetes.dask.org/v1 DaskWorkerGroup",
        "a-more",
        Some("workergroup"),
        false
    )]
    #[case::worker(
        DaskKind::WorkerGroup,
        "apps/v1 Deployment",
        "a-worker-0123456789",
        Some("worker"),
        true
    )]
    #[case::older_worker(DaskKind::WorkerGroup, "v1 Pod", "a-worker-0123456789", Some("worker"), true)]
    #[case::another_pod(DaskKind::WorkerGroup, "v1 Pod", "a-notebook", Some("worker"), false)]
    #[case::runner(DaskKind::Job, "v1 Pod", "a-runner", Some("job-runner"), true)]
    #[case::cluster(DaskKind::Job, "kubernetes.dask.org/v1 DaskCluster", "a", None, true)]
    #[case::another_cluster(DaskKind::Job, "kubernetes.dask.org/v1 DaskCluster", "ab", None, false)]
    #[case::autoscaler(DaskKind::Autoscaler, "v1 Pod", "a-scheduler", Some("scheduler"), false)]
    fn recognises_children_by_name_and_label(
        #[case] parent: DaskKind,
        #[case] kind: &str,
        #[case] name: &str,
        #[case] component: Option<&str>,
        #[case] expected: bool,
    ) {
        let parent = Parent {
            kind: parent,
            name: "a".into(),
            namespace: "n".into(),
            uid: "u".into(),
            cluster: "a".into(),
        };
        let (api_version, kind) = kind.split_once(' ').unwrap_or_default();
        assert_eq!(
            makes(&parent, &ResourceKind::new(api_version, kind), name, component),
            expected
        );
    }
}
