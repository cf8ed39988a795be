//! Settings of the worker-group plugin.

use dask_operator_plugin::dask::metadata::{self, Ignored};
use dask_operator_plugin::dask::workload::Workload;
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the worker-group plugin. Each has a default.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The image of workers whose manifest names none. Without this setting, a container without an image is an error, unless
    /// another part of the manifest names one.
    pub default_image: Option<String>,
    /// The kind of object for new workers: `pod`, or `deployment` for one-replica Deployments as in dask-kubernetes. Existing
    /// workers are not converted.
    pub workload: Workload,
    /// Maximum number of workers that are created at once. No value or 0 means no limit.
    pub batch_size: Option<u32>,
    /// Seconds between two batches.
    pub delay: Option<u32>,
    /// The domain of the Kubernetes cluster, for scheduler addresses with a fully qualified name: `cluster.local`. Without it,
    /// addresses end with `.svc`, which works with every domain.
    pub cluster_domain: Option<String>,
    /// Prefixes of annotations that pods do not inherit.
    pub ignored_annotations: Vec<String>,
    /// Prefixes of labels that pods do not inherit.
    pub ignored_labels: Vec<String>,
    /// Keys of taints that mark a node for removal. Its workers move their results and are replaced immediately.
    pub drain_taints: Vec<String>,
}

/// Taints that a node has only if it is about to be removed. They are set by the AWS Node Termination Handler (with
/// `taintNode`), by GKE before it reclaims a Spot VM, and by the Cluster Autoscaler and Karpenter before they remove a node.
/// `node.kubernetes.io/unschedulable` is not included: a cordoned node continues to run, and when it is drained, the evicted
/// pods have the condition `DisruptionTarget`.
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
    /// Returns the prefixes of labels and annotations that children do not inherit.
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
