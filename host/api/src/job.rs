//! DaskJob: a pod that runs to its end, and a cluster for as long.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Condition, DaskClusterSpec, EmbeddedMetadata, PodSpec};

/// Desired state of the job.
#[allow(clippy::duplicated_attributes, reason = "several columns have the same type")]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "kubernetes.dask.org",
    version = "v1",
    kind = "DaskJob",
    plural = "daskjobs",
    shortname = "djb",
    doc = "A pod that runs to its end, with a Dask cluster that is there for as long.",
    namespaced,
    status = "DaskJobStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Status",
        type_ = "string",
        description = "Where it is in its life",
        json_path = ".status.jobStatus"
    ),
    printcolumn(
        name = "Number Of Workers",
        type_ = "integer",
        description = "Desired number of workers of its cluster",
        json_path = ".spec.cluster.spec.worker.replicas"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Started",
        type_ = "date",
        description = "Since when its code has run",
        json_path = ".status.startTime",
        priority = 1
    ),
    printcolumn(
        name = "Ended",
        type_ = "date",
        description = "Since when it has been over",
        json_path = ".status.endTime",
        priority = 1
    ),
    printcolumn(
        name = "Runner",
        type_ = "string",
        description = "The pod that runs its code",
        json_path = ".status.jobRunnerPodName",
        priority = 1
    ),
    validation = crate::crds::cluster_name_rule("DaskJob")
)]
#[serde(rename_all = "camelCase")]
pub struct DaskJobSpec {
    /// The pod that runs the job's code.
    pub job: JobRunner,
    /// The cluster that the job uses; it is deleted when the job ends.
    pub cluster: JobCluster,
    /// How often a runner that failed or was lost is started again before the job fails: restarts of its container with
    /// `restartPolicy: OnFailure`, new pods with `Never`. By default its `restartPolicy` alone decides, and
    /// a lost runner is the job's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub backoff_limit: Option<i32>,
    /// Seconds from the job's start (or its last resumption) after which it fails, whatever its runner does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i64>,
    /// Seconds from the job's end after which it is deleted with all that it made. Never by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// Run nothing until this is false (the default). A job that runs already is stopped: its runner and its cluster are
    /// deleted, and it begins anew later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// When the cluster is deleted: `Always` (the default) when the job ends; `OnSuccess` when it was successful, so
    /// that the scheduler and the workers of a failed one can be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Start the runner when so many workers have registered. 0 (the default): at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub wait_for_workers: Option<i32>,
}

/// When a job's cluster is deleted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DeletionPolicy {
    /// When the job ends.
    Always,
    /// When the job was successful.
    OnSuccess,
}

/// The pod that runs a job's code.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct JobRunner {
    /// Labels and annotations for the pod, over those of the DaskJob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<EmbeddedMetadata>,
    /// The pod, a Kubernetes PodSpec: see `kubectl explain pod.spec`. Each container gets
    /// `DASK_SCHEDULER_ADDRESS` where it doesn't set it, so that `Client()` finds the cluster. `restartPolicy` is
    /// `OnFailure` by default: the code is run again until it succeeds. With `Never` the job fails
    /// when the code does.
    #[schemars(schema_with = "crate::kubernetes::runner_pod_spec")]
    pub spec: PodSpec,
}

/// The cluster that a job uses.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct JobCluster {
    /// Labels and annotations for the cluster, over those of the DaskJob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<EmbeddedMetadata>,
    /// The cluster, as in a DaskCluster.
    pub spec: DaskClusterSpec,
}

/// What the operator sees of a DaskJob. Logic that is swapped in may add fields.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaskJobStatus {
    /// Where the job is in its life: `JobCreated`, `ClusterCreated`, `Running`, `Successful`, `Failed`. It is
    /// missing until the operator has seen the job, and never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_status: Option<String>,
    /// The DaskCluster of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The pod that runs the job's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_runner_pod_name: Option<String>,
    /// When the code began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub start_time: Option<String>,
    /// When the job was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub end_time: Option<String>,
    /// What holds of the job, by type. A job that is over has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What else the logic reports.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
