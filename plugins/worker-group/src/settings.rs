//! Settings of the worker-group component.

use dask_operator_plugin::dask::metadata::{self, Ignored};
use dask_operator_plugin::dask::workload::Workload;
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the worker-group component; each has a default.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The image of workers whose manifest names none. Without it, a container that is written without an image is an
    /// error where no other part of the manifest names one.
    pub default_image: Option<String>,
    /// What new workers are made of: `pod`, or `deployment` for one-replica Deployments as dask-kubernetes made them.
    /// Workers that exist are kept as they are.
    pub workload: Workload,
    /// How many workers are created at once; none or 0 for no limit.
    pub batch_size: Option<u32>,
    /// Seconds between two batches.
    pub delay: Option<u32>,
    /// The domain of the Kubernetes cluster, for scheduler addresses with a full name: `cluster.local`. Without it they
    /// end with `.svc`, which works on any domain.
    pub cluster_domain: Option<String>,
    /// Annotations that are not handed down to pods, by how they begin.
    pub ignored_annotations: Vec<String>,
    /// Labels that are not handed down to children, by how they begin.
    pub ignored_labels: Vec<String>,
    /// Keys of taints that say that a node is about to go: its workers hand on what they hold and are replaced at once.
    pub drain_taints: Vec<String>,
}

/// Taints that are put on a node because it goes away, and only then: by the AWS Node Termination Handler (with
/// `taintNode`), by GKE before it takes a Spot VM back, by the Cluster Autoscaler and by Karpenter before they remove a
/// node. `node.kubernetes.io/unschedulable` is not among them: a node that is only cordoned runs on, and when it is
/// drained the evicted pods have the condition `DisruptionTarget`.
const DRAIN_TAINTS: [&str; 7] = [
    "aws-node-termination-handler/spot-itn",
    "aws-node-termination-handler/scheduled-maintenance",
    "aws-node-termination-handler/asg-lifecycle-termination",
    "cloud.google.com/impending-node-termination",
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
];

impl Settings {
    /// What is not handed down to children.
    pub(crate) fn ignored(&self) -> Ignored {
        Ignored {
            labels: self.ignored_labels.clone(),
            annotations: self.ignored_annotations.clone(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_image: None,
            workload: Workload::default(),
            batch_size: None,
            delay: None,
            cluster_domain: None,
            ignored_annotations: metadata::marks_of_tools(),
            ignored_labels: metadata::marks_of_tools(),
            drain_taints: DRAIN_TAINTS.map(str::to_owned).to_vec(),
        }
    }
}
