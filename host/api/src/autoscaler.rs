//! DaskAutoscaler: as many workers as the scheduler can use, within bounds.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Condition;

/// Desired state of the autoscaler: which workers it scales, and within which bounds.
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
        description = "The DaskCluster that it scales",
        json_path = ".spec.cluster"
    ),
    printcolumn(
        name = "Minimum",
        type_ = "integer",
        description = "Fewest workers",
        json_path = ".spec.minimum"
    ),
    printcolumn(
        name = "Maximum",
        type_ = "integer",
        description = "Most workers",
        json_path = ".spec.maximum"
    ),
    printcolumn(
        name = "Current",
        type_ = "integer",
        description = "Workers that the group was asked to have",
        json_path = ".status.currentReplicas"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        description = "Workers that the group is scaled to",
        json_path = ".status.desiredReplicas"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Group",
        type_ = "string",
        description = "The DaskWorkerGroup that it scales",
        json_path = ".status.workerGroup",
        priority = 1
    ),
    printcolumn(
        name = "Last Scaled",
        type_ = "date",
        description = "When it last changed the number of workers",
        json_path = ".status.lastScaleTime",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = crate::crds::bounds_rule())]
pub struct DaskAutoscalerSpec {
    /// Name of the DaskCluster, in the same namespace, that is scaled. It can't be changed.
    #[schemars(length(min = 1))]
    #[x_kube(validation = crate::crds::immutable_rule("make another DaskAutoscaler for the other cluster"))]
    pub cluster: String,
    /// Fewest workers. 1 lets an idle cluster start at once with new work.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub minimum: i32,
    /// Most workers.
    #[schemars(range(min = 0))]
    pub maximum: i32,
    /// Name of the DaskWorkerGroup of that cluster that is scaled; by default the default group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub worker_group: Option<String>,
    /// Seconds in which all work that the scheduler knows of shall be done: the shorter, the more workers (Dask's target
    /// duration). The scheduler's own setting (5) by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub target_duration_seconds: Option<i64>,
    /// How it goes up: at once and without a limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<Scaling>,
    /// How it goes down: when fewer workers were enough for 60 seconds, by at most 25% every 15 seconds by
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<Scaling>,
}

/// How an autoscaler goes in one direction.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Seconds for which the scheduler must have wanted more (or fewer) workers until something is done; then the least
    /// change that it wanted meanwhile is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub window_seconds: Option<i32>,
    /// By how many workers, or by what part of them (`25%`, at least 1), the group may change at most in one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<IntOrString>,
    /// Seconds from one step to the next in this direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub period_seconds: Option<i32>,
}

/// What the operator sees of a DaskAutoscaler. Logic that is swapped in may add fields.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaskAutoscalerStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The DaskWorkerGroup that it scales.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_group: Option<String>,
    /// Workers that the group was asked to have when the scheduler was last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<i64>,
    /// Workers that the group is scaled to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i64>,
    /// When it last changed the number of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_scale_time: Option<String>,
    /// What holds of the autoscaler, by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What else the logic reports.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
