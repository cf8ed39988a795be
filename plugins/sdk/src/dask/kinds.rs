//! Kinds of the resources that the default components use.

use crate::contract::ResourceKind;

pub use dask_operator_kubernetes::names::DASK_API_VERSION;

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
    ResourceKind::new(DASK_API_VERSION, "DaskCluster")
}

/// `DaskWorkerGroup`.
pub fn worker_group() -> ResourceKind {
    ResourceKind::new(DASK_API_VERSION, "DaskWorkerGroup")
}

/// `DaskAutoscaler`.
pub fn autoscaler() -> ResourceKind {
    ResourceKind::new(DASK_API_VERSION, "DaskAutoscaler")
}
