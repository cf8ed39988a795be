//! Which kinds of children a parent may have at all, whatever a component
//! declares. Namespaced kinds only, and none that gives rights (RBAC, service
//! accounts) or holds secrets: a component can't raise itself or its users
//! above what the operator's administrator allowed.

use crate::names::DASK_API_VERSION;
use crate::parent::DaskKind;
use crate::plan::ResourceKind;

/// Kinds beside Pods that a plugin may add to any Dask resource that has pods.
const COMPANIONS: [(&str, &str); 8] = [
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "PersistentVolumeClaim"),
    ("apps/v1", "Deployment"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
];

/// The kinds that children of `parent` may have. `extra` are those that the
/// administrator added, for every parent that has pods.
#[must_use]
pub fn allowed(parent: DaskKind, extra: &[ResourceKind]) -> Vec<ResourceKind> {
    let dask: &[&str] = match parent {
        DaskKind::Cluster => &["DaskWorkerGroup", "DaskAutoscaler"],
        DaskKind::Job => &["DaskCluster"],
        DaskKind::WorkerGroup => &[],
        DaskKind::Autoscaler => return Vec::new(),
    };
    let companions = COMPANIONS
        .iter()
        .map(|(api_version, kind)| ResourceKind::new(*api_version, *kind));
    let dask = dask.iter().map(|kind| ResourceKind::new(DASK_API_VERSION, *kind));
    companions.chain(dask).chain(extra.iter().cloned()).collect()
}
