//! The Dask resources as Rust types, and their CustomResourceDefinitions.
//!
//! * [`DaskCluster`], [`DaskWorkerGroup`], [`DaskJob`], [`DaskAutoscaler`]: group [`GROUP`], version
//!   [`VERSION`], what dask-kubernetes calls the same.
//! * [`DaskPlugin`], [`ClusterDaskPlugin`]: components that decide about these.
//! * [`crds`]: their definitions, with everything that the API server can check by itself.
//! * [`crd_files`]: the same as the YAML files in `crds/`.
//!
//! What Kubernetes owns (pod and service specs) is kept as it was written, see [`PodSpec`] and
//! [`ServiceSpec`]; only its schema is of one Kubernetes version.

#![allow(
    unreachable_pub,
    reason = "KubeSchema derives a helper type that is as public as the type itself"
)]

mod autoscaler;
mod cluster;
mod condition;
mod crds;
mod job;
mod kubernetes;
mod metadata;
mod plugin;
mod settings;
mod worker_group;

pub use autoscaler::{DaskAutoscaler, DaskAutoscalerSpec, DaskAutoscalerStatus, Scaling};
pub use cluster::{DaskCluster, DaskClusterSpec, DaskClusterStatus, Scheduler, SchedulerUpdate};
pub use condition::Condition;
pub use crds::{CrdError, CrdFile, crd_files, crds};
pub use job::{DaskJob, DaskJobSpec, DaskJobStatus, DeletionPolicy, JobCluster, JobRunner};
pub use kubernetes::{PodSpec, ServiceSpec};
pub use metadata::EmbeddedMetadata;
pub use plugin::{
    ClusterDaskPlugin, ClusterDaskPluginSpec, ConfigMapSource, DaskPlugin, DaskPluginSpec, FileSource,
    LastGood, OciSource, OnFailure, PluginInterface, PluginLimits, PluginMode, PluginSource, PluginStatus,
    SecretName,
};
pub use settings::PluginSettings;
pub use worker_group::{
    DaskWorkerGroup, DaskWorkerGroupSpec, DaskWorkerGroupStatus, ScaleDown, UpdateStrategy, UpdateType,
    Worker,
};

/// The API group of all Dask resources.
pub const GROUP: &str = "kubernetes.dask.org";

/// The one version of all Dask resources.
pub const VERSION: &str = "v1";
