//! Kinds of the resources that the default components use.

use crate::contract::ResourceKind;

/// API version of the Dask resources.
pub const DASK: &str = "kubernetes.dask.org/v1";

/// `v1` `Pod`.
pub fn pod() -> ResourceKind {
    ResourceKind::new("v1", "Pod")
}

/// `v1` `Service`.
pub fn service() -> ResourceKind {
    ResourceKind::new("v1", "Service")
}

/// `apps/v1` `Deployment`.
pub fn deployment() -> ResourceKind {
    ResourceKind::new("apps/v1", "Deployment")
}

/// `v1` `Node`.
pub fn node() -> ResourceKind {
    ResourceKind::new("v1", "Node")
}

/// `DaskCluster`.
pub fn cluster() -> ResourceKind {
    ResourceKind::new(DASK, "DaskCluster")
}

/// `DaskWorkerGroup`.
pub fn worker_group() -> ResourceKind {
    ResourceKind::new(DASK, "DaskWorkerGroup")
}

/// `DaskAutoscaler`.
pub fn autoscaler() -> ResourceKind {
    ResourceKind::new(DASK, "DaskAutoscaler")
}
