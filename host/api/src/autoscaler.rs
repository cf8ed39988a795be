//! The DaskAutoscaler resource, which scales a worker group to the number of workers that the scheduler can use.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Condition;

/// Desired state of the autoscaler: the workers that it scales, and the bounds.
#[allow(clippy::duplicated_attributes, reason = "several columns have the same type")]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "kubernetes.dask.org",
    version = "v1",
    kind = "DaskAutoscaler",
    plural = "daskautoscalers",
    doc = "Gives a DaskCluster as many workers as its scheduler can use, within bounds.",
    namespaced,
    status = "DaskAutoscalerStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        description = "The DaskCluster that is scaled",
        json_path = ".spec.cluster"
    ),
    printcolumn(
        name = "Minimum",
        type_ = "integer",
        description = "Minimum number of workers",
        json_path = ".spec.minimum"
    ),
    printcolumn(
        name = "Maximum",
        type_ = "integer",
        description = "Maximum number of workers",
        json_path = ".spec.maximum"
    ),
    printcolumn(
        name = "Current",
        type_ = "integer",
        description = "Desired number of workers of the group when the scheduler was last queried",
        json_path = ".status.currentReplicas"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        description = "Number of workers that the group is scaled to",
        json_path = ".status.desiredReplicas"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Group",
        type_ = "string",
        description = "The DaskWorkerGroup that is scaled",
        json_path = ".status.workerGroup",
        priority = 1
    ),
    printcolumn(
        name = "Last Scaled",
        type_ = "date",
        description = "Time at which the autoscaler last changed the number of workers",
        json_path = ".status.lastScaleTime",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = crate::crds::bounds_rule())]
pub struct DaskAutoscalerSpec {
    /// Name of the DaskCluster, in the same namespace, that is scaled. The field can't be changed.
    #[schemars(length(min = 1))]
    #[x_kube(validation = crate::crds::immutable_rule("make another DaskAutoscaler for the other cluster"))]
    pub cluster: String,
    /// Fewest workers. With 1, an idle cluster can start new work at once.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub minimum: i32,
    /// Most workers.
    #[schemars(range(min = 0))]
    pub maximum: i32,
    /// Name of the DaskWorkerGroup of that cluster that is scaled. Defaults to the cluster's default group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub worker_group: Option<String>,
    /// Number of seconds in which the workers should complete all work that the scheduler knows of: the shorter, the more
    /// workers (Dask's target duration). Defaults to the scheduler's own setting (5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub target_duration_seconds: Option<i64>,
    /// Limits for scaling up. By default, the group is scaled up at once and without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<Scaling>,
    /// Limits for scaling down. By default, the group is scaled down when fewer workers were enough for 60 seconds, by at
    /// most 25% every 15 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<Scaling>,
}

/// Limits for scaling in one direction.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Number of seconds for which the scheduler must have requested more (or fewer) workers before the group is scaled. The
    /// smallest change that was requested in that time is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub window_seconds: Option<i32>,
    /// Largest change in one step, as a number of workers or as a part of them (`25%`, at least 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<IntOrString>,
    /// Number of seconds from one step to the next in this direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub period_seconds: Option<i32>,
}

/// Observed state of a DaskAutoscaler. Logic plugins may add fields.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaskAutoscalerStatus {
    /// The `metadata.generation` that this status is based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The DaskWorkerGroup that is scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_group: Option<String>,
    /// Desired number of workers of the group when the scheduler was last queried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<i64>,
    /// Number of workers that the group is scaled to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i64>,
    /// Time at which the autoscaler last changed the number of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_scale_time: Option<String>,
    /// Conditions of the autoscaler, by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Other fields that the logic reports.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
