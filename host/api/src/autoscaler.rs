//! DaskAutoscaler: as many workers as the scheduler can use, within bounds.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Condition;

/// Within which bounds a cluster shall be scaled.
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
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
}

/// What the operator sees of a DaskAutoscaler. Logic that is swapped in may add fields.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaskAutoscalerStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds of the autoscaler, by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What else the logic reports.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
