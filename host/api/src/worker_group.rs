//! DaskWorkerGroup: workers of one kind that belong to a cluster.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Condition, EmbeddedMetadata, PodSpec};

/// Desired state of the worker group.
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
        description = "Desired number of workers",
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
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// Desired number of workers; 1 by default.
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
    /// How workers that are too many leave. `drain` (the default): the scheduler moves their results to other workers
    /// first; no worker leaves while the scheduler can't be asked, or while no other worker can take its results. `unsafe`:
    /// they leave all the same, and results that they hold are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScaleDown>,
    /// Seconds that other workers have to take the results of a worker that leaves; then its pod is deleted all the same,
    /// unless it leaves only because its pod's spec has changed. The default is 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub drain_timeout_seconds: Option<i64>,
    /// How workers are replaced when their pod's spec has changed. By default one at a time, each after its results have been
    /// moved to other workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_strategy: Option<UpdateStrategy>,
}

fn one() -> i32 {
    1
}

/// How workers that are too many leave.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleDown {
    /// What they hold is moved to others first.
    Drain,
    /// At once, where the scheduler can't be asked.
    Unsafe,
}

/// How workers are replaced when their pod's spec has changed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// `RollingUpdate` (the default): a few at a time, each drained first. `OnDelete`: only when somebody deletes a
    /// worker's pod.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<UpdateType>,
    /// How many workers, or what part of them (`25%`, rounded down), may be missing meanwhile. 1 where neither this nor
    /// `maxSurge` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// How many workers, or what part of them (`25%`, rounded up), may be there beyond the wanted number meanwhile. 0
    /// by default. A worker that can't hand on its results to anybody is replaced before it is gone all the
    /// same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
}

/// When workers are replaced.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum UpdateType {
    /// A few at a time.
    RollingUpdate,
    /// When somebody deletes them.
    OnDelete,
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
