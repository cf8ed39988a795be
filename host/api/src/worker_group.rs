//! The DaskWorkerGroup resource: workers of one kind that belong to a cluster.

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
    doc = "Workers of one kind that belong to a DaskCluster. The group is deleted with its cluster.",
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
        description = "The DaskCluster that the group belongs to",
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
        description = "True if surplus workers are not removed because they may hold data",
        json_path = r#".status.conditions[?(@.type=="ScaleDownBlocked")].status"#,
        priority = 1
    ),
    validation = crate::crds::group_name_rule()
)]
pub struct DaskWorkerGroupSpec {
    /// Name of the DaskCluster, in the same namespace, that the workers join. The field can't be changed.
    #[schemars(length(min = 1))]
    #[x_kube(validation = crate::crds::immutable_rule("make another DaskWorkerGroup for the other cluster"))]
    pub cluster: String,
    /// The workers.
    pub worker: WorkerSpec,
}

/// Workers of one kind.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerSpec {
    /// Desired number of workers. Defaults to 1.
    #[serde(default = "one")]
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Labels and annotations for the workers, over those of the resource itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<EmbeddedMetadata>,
    /// The pod of a worker, a Kubernetes PodSpec: see `kubectl explain pod.spec`. Each container gets
    /// `DASK_WORKER_NAME` and `DASK_SCHEDULER_ADDRESS` unless it sets the variables itself; workers must be started
    /// with `--name $(DASK_WORKER_NAME)`.
    pub spec: PodSpec,
    /// Removal of surplus workers. `drain` (the default): the scheduler first moves their results to other workers; no worker
    /// is removed while the scheduler does not answer, or while no other worker can take its results. `unsafe`: the workers are
    /// removed nevertheless, and the results that they hold are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScaleDown>,
    /// Number of seconds that other workers have to take the results of a worker that is drained. Then its pod is deleted all
    /// the same, unless the worker is only replaced because its pod's spec has changed. Defaults to 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub drain_timeout_seconds: Option<i64>,
    /// Replacement of workers when their pod's spec has changed. By default, the workers are replaced one at a time, each
    /// after its results have been moved to other workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_strategy: Option<UpdateStrategy>,
}

fn one() -> i32 {
    1
}

/// Removal of surplus workers. `drain` (the default): the scheduler first moves their results to other workers; no worker
/// is removed while the scheduler does not answer, or while no other worker can take its results. `unsafe`: the workers are
/// removed nevertheless, and the results that they hold are lost.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleDown {
    /// The results of the workers are moved to other workers first.
    Drain,
    /// The workers are removed even if the scheduler does not answer or no other worker can take their results.
    Unsafe,
}

/// Replacement of workers when their pod's spec has changed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// `RollingUpdate` (the default): a few workers at a time are drained and replaced. `OnDelete`: a worker is replaced when a
    /// user deletes its pod.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<UpdateType>,
    /// Number of workers, or part of them (`25%`, rounded down), that may be missing during the update. Defaults to 1 if
    /// `maxSurge` is 0, otherwise to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// Number of workers, or part of them (`25%`, rounded up), that may exist beyond the desired number during the update.
    /// Defaults to 0. Even then, the replacement of a worker whose results no other worker can take is created before the
    /// worker is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
}

/// `RollingUpdate` (the default): a few workers at a time are drained and replaced. `OnDelete`: a worker is replaced when a
/// user deletes its pod.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum UpdateType {
    /// A few workers at a time are drained and replaced.
    RollingUpdate,
    /// A worker is replaced when a user deletes its pod.
    OnDelete,
}

/// Observed state of a DaskWorkerGroup. Logic plugins may add fields.
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
    /// The `metadata.generation` that this status is based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions of the group, by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Other fields that the logic reports.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
