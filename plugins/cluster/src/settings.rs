//! Settings of the cluster plugin.

use dask_operator_plugin::dask::metadata::{self, Ignored};
use dask_operator_plugin::dask::workload::Workload;
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the cluster plugin. Each has a default.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The image of schedulers and workers whose manifest names none. Without this setting, a container without an image is an
    /// error, unless another part of the manifest names one.
    pub default_image: Option<String>,
    /// The kind of object for new schedulers: `pod`, or `deployment` for one-replica Deployments as in dask-kubernetes.
    /// Existing schedulers are not converted.
    pub workload: Workload,
    /// Prefixes of annotations that children do not inherit.
    pub ignored_annotations: Vec<String>,
    /// Prefixes of labels that children do not inherit.
    pub ignored_labels: Vec<String>,
}

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
            ignored_annotations: metadata::marks_of_tools(),
            ignored_labels: metadata::marks_of_tools(),
        }
    }
}
