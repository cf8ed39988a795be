//! The DaskJob resource: a pod that runs to completion, and a cluster that exists for as long.

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
    doc = "A pod that runs to completion, and a Dask cluster that exists for as long.",
    namespaced,
    status = "DaskJobStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Status",
        type_ = "string",
        description = "Phase of the job",
        json_path = ".status.jobStatus"
    ),
    printcolumn(
        name = "Number Of Workers",
        type_ = "integer",
        description = "Desired number of workers of the job's cluster",
        json_path = ".spec.cluster.spec.worker.replicas"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Started",
        type_ = "date",
        description = "Time at which the job's code started to run",
        json_path = ".status.startTime",
        priority = 1
    ),
    printcolumn(
        name = "Ended",
        type_ = "date",
        description = "Time at which the job ended",
        json_path = ".status.endTime",
        priority = 1
    ),
    printcolumn(
        name = "Runner",
        type_ = "string",
        description = "The pod that runs the job's code",
        json_path = ".status.jobRunnerPodName",
        priority = 1
    ),
    validation = crate::crds::cluster_name_rule("DaskJob")
)]
#[serde(rename_all = "camelCase")]
pub struct DaskJobSpec {
    /// The pod that runs the job's code.
    pub job: JobRunner,
    /// The cluster that the job uses. `deletionPolicy` sets when it is deleted.
    pub cluster: JobCluster,
    /// Number of retries of a failed or lost runner before the job fails: restarts of its container with
    /// `restartPolicy: OnFailure`, new pods with `Never`. By default, its `restartPolicy` alone decides, and the job ends if
    /// the runner is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub backoff_limit: Option<i32>,
    /// Number of seconds from the job's start (or its last resumption) after which the job fails, whatever its runner does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i64>,
    /// Number of seconds from the job's end after which the job is deleted with all its objects. Never by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// True to run nothing until the field is false again (the default). A running job is stopped: its runner and its cluster
    /// are deleted, and it starts again later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Deletion of the cluster. `Always` (the default): when the job ends. `OnSuccess`: only when the job succeeds, so that
    /// the scheduler and the workers of a failed job can be inspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Number of workers that must be registered before the runner is started. 0 (the default): the runner starts at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub wait_for_workers: Option<i32>,
}

/// Deletion of the cluster. `Always` (the default): when the job ends. `OnSuccess`: only when the job succeeds, so that
/// the scheduler and the workers of a failed job can be inspected.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DeletionPolicy {
    /// The cluster is deleted when the job ends.
    Always,
    /// The cluster is deleted when the job succeeds.
    OnSuccess,
}

/// The pod that runs a job's code.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct JobRunner {
    /// Labels and annotations for the pod, over those of the DaskJob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<EmbeddedMetadata>,
    /// The pod, a Kubernetes PodSpec: see `kubectl explain pod.spec`. Each container gets
    /// `DASK_SCHEDULER_ADDRESS` unless it sets the variable itself, so that `Client()` finds the cluster. `restartPolicy` is
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

/// Observed state of a DaskJob. Logic plugins may add fields.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaskJobStatus {
    /// Phase of the job: `JobCreated`, `ClusterCreated`, `Running`, `Successful`, `Failed`. Missing until the operator has
    /// seen the job. A job never returns to an earlier phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_status: Option<String>,
    /// The DaskCluster of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The pod that runs the job's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_runner_pod_name: Option<String>,
    /// Time at which the job's code started to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub start_time: Option<String>,
    /// Time at which the job ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub end_time: Option<String>,
    /// Conditions of the job, by type. A job that has ended has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Other fields that the logic reports.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
