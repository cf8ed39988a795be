//! Rust types of the Dask resources, and their CustomResourceDefinitions.
//!
//! * [`DaskCluster`], [`DaskWorkerGroup`], [`DaskJob`], [`DaskAutoscaler`]: the resources of dask-kubernetes, with the same
//!   names, group ([`GROUP`]) and version ([`VERSION`]).
//! * [`DaskPlugin`], [`ClusterDaskPlugin`]: components that decide about Dask resources.
//! * [`crds()`]: the definitions of all kinds, with every check that the API server can do by itself.
//! * [`crd_files`]: the definitions as the YAML files in `crds/`.
//!
//! Pod and service specs, which Kubernetes owns, are kept as the user wrote them: see [`PodSpec`] and [`ServiceSpec`]. Only
//! their schemas belong to one Kubernetes version.

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
pub use cluster::{DaskCluster, DaskClusterSpec, DaskClusterStatus, SchedulerSpec, SchedulerUpdate};
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
    WorkerSpec,
};

/// The API group of all Dask resources.
pub const GROUP: &str = "kubernetes.dask.org";

/// The only version of all Dask resources.
pub const VERSION: &str = "v1";
