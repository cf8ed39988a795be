//! The DaskCluster resource: a scheduler, the Service in front of it, and a default group of workers.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Condition, EmbeddedMetadata, PodSpec, ServiceSpec, WorkerSpec};

/// Desired state of the cluster.
#[allow(clippy::duplicated_attributes, reason = "several columns have the same type")]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "kubernetes.dask.org",
    version = "v1",
    kind = "DaskCluster",
    plural = "daskclusters",
    shortname = "daskcluster",
    shortname = "dsk",
    doc = "A Dask cluster: a scheduler, the Service in front of it, and a default group of workers.",
    namespaced,
    status = "DaskClusterStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.worker.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Workers",
        type_ = "integer",
        description = "Desired number of workers of the default group",
        json_path = ".spec.worker.replicas"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        description = "Workers that are ready",
        json_path = ".status.readyReplicas"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        description = "Phase of the cluster",
        json_path = ".status.phase"
    ),
    printcolumn(
        name = "Available",
        type_ = "string",
        description = "True if clients can use the cluster",
        json_path = r#".status.conditions[?(@.type=="Available")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Scheduler",
        type_ = "string",
        description = "True if the scheduler is ready",
        json_path = r#".status.conditions[?(@.type=="SchedulerReady")].status"#,
        priority = 1
    ),
    printcolumn(
        name = "Existing",
        type_ = "integer",
        description = "Workers that exist, ready or not",
        json_path = ".status.replicas",
        priority = 1
    ),
    printcolumn(
        name = "Idle Timeout",
        type_ = "integer",
        description = "Seconds without work after which the cluster is deleted; 0: never",
        json_path = ".spec.idleTimeout",
        priority = 1
    ),
    validation = crate::crds::cluster_name_rule("DaskCluster")
)]
#[serde(rename_all = "camelCase")]
pub struct DaskClusterSpec {
    /// Number of seconds without work for the scheduler after which the cluster is deleted. 0: never.
    #[serde(default)]
    #[schemars(range(min = 0), extend("default" = 0))]
    pub idle_timeout: Option<i64>,
    /// True to stop the scheduler and the workers and keep all other objects, until the field is false again (the default).
    /// The data that the scheduler and the workers held is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Replacement of the scheduler after a change of its pod spec or metadata. A new scheduler does not know the tasks and
    /// results of the old one. `OnDelete` (the default): the scheduler is replaced when a user deletes its pod. `Recreate`: the
    /// scheduler is replaced at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_update: Option<SchedulerUpdate>,
    /// The scheduler, and the Service in front of it.
    pub scheduler: SchedulerSpec,
    /// The workers of the default group, the DaskWorkerGroup `<name>-default`.
    pub worker: WorkerSpec,
}

/// Replacement of the scheduler after a change of its pod spec or metadata. A new scheduler does not know the tasks and
/// results of the old one. `OnDelete` (the default): the scheduler is replaced when a user deletes its pod. `Recreate`: the
/// scheduler is replaced at once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SchedulerUpdate {
    /// The scheduler is replaced when a user deletes its pod.
    OnDelete,
    /// The scheduler is replaced at once.
    Recreate,
}

/// The Dask scheduler of a cluster, and the Service in front of it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct SchedulerSpec {
    /// Labels and annotations for the scheduler's pod and Service, over those of the DaskCluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<EmbeddedMetadata>,
    /// The scheduler's pod, a Kubernetes PodSpec: see `kubectl explain pod.spec`.
    pub spec: PodSpec,
    /// The Service in front of the scheduler, a Kubernetes ServiceSpec: see `kubectl explain service.spec`.
    /// Workers and clients connect to the port named `tcp-comm`; the port named `http-dashboard` is the dashboard.
    pub service: ServiceSpec,
}

/// Observed state of a DaskCluster. Logic plugins may add fields.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaskClusterStatus {
    /// Phase of the cluster: `Created`, `Pending`, `Running`, or `Error` if the cluster can't be used until a user changes it
    /// (the conditions give the reason).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Workers of the default group that exist, ready or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Workers of the default group that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i64>,
    /// Label selector of the default group's workers, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The `metadata.generation` that this status is based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions of the cluster, by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Other fields that the logic reports.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
