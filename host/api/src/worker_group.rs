//! DaskWorkerGroup: workers of one kind that belong to a cluster.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Condition, EmbeddedMetadata, PodSpec};

/// What a group of workers shall be.
#[allow(clippy::duplicated_attributes, reason = "several columns have the same type")]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "kubernetes.dask.org",
    version = "v1",
    kind = "DaskWorkerGroup",
    plural = "daskworkergroups",
    shortname = "daskworkers",
    doc = "Workers of one kind that belong to a DaskCluster. It goes away with its cluster.",
    namespaced,
    status = "DaskWorkerGroupStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.worker.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Workers",
        type_ = "integer",
        description = "Workers that the group shall have",
        json_path = ".spec.worker.replicas"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        description = "Workers that are ready",
        json_path = ".status.readyReplicas"
    ),
    printcolumn(
        name = "Cluster",
        type_ = "string",
        description = "The DaskCluster that it belongs to",
        json_path = ".spec.cluster"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Existing",
        type_ = "integer",
        description = "Workers that exist, ready or not",
        json_path = ".status.replicas",
        priority = 1
    ),
    printcolumn(
        name = "Scale Down Blocked",
        type_ = "string",
        description = "Whether workers are held back because they may hold data",
        json_path = r#".status.conditions[?(@.type=="ScaleDownBlocked")].status"#,
        priority = 1
    ),
    validation = crate::crds::group_name_rule()
)]
pub struct DaskWorkerGroupSpec {
    /// Name of the DaskCluster, in the same namespace, that the workers join. It can't be changed.
    #[schemars(length(min = 1))]
    #[x_kube(validation = crate::crds::immutable_rule("make another DaskWorkerGroup for the other cluster"))]
    pub cluster: String,
    /// The workers.
    pub worker: Worker,
}

/// Workers of one kind.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Worker {
    /// How many workers there shall be.
    #[serde(default = "one")]
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Labels and annotations for the workers, over those of the resource that this stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<EmbeddedMetadata>,
    /// The pod of a worker, a Kubernetes PodSpec: see `kubectl explain pod.spec`. Each container gets
    /// `DASK_WORKER_NAME` and `DASK_SCHEDULER_ADDRESS` where it doesn't set them; workers must be started
    /// with `--name $(DASK_WORKER_NAME)`.
    pub spec: PodSpec,
}

fn one() -> i32 {
    1
}

/// What the operator sees of a DaskWorkerGroup. Logic that is swapped in may add fields.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaskWorkerGroupStatus {
    /// Workers that exist, ready or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Workers that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i64>,
    /// Label selector of the workers, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds of the group, by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What else the logic reports.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
