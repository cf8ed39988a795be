//! Settings of the cluster component.

use dask_operator_plugin::dask::metadata::{self, Ignored};
use dask_operator_plugin::dask::workload::Workload;
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the cluster component; each has a default.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The image of schedulers and workers whose manifest names none. Without it, a container that is written without an image is an
    /// error where no other part of the manifest names one.
    pub default_image: Option<String>,
    /// What new schedulers are made of: `pod`, or `deployment` for one-replica Deployments as dask-kubernetes made them.
    /// A scheduler that exists is kept as it is.
    pub workload: Workload,
    /// Annotations that are not handed down to children, by how they begin.
    pub ignored_annotations: Vec<String>,
    /// Labels that are not handed down to children, by how they begin.
    pub ignored_labels: Vec<String>,
}

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
            ignored_annotations: metadata::marks_of_tools(),
            ignored_labels: metadata::marks_of_tools(),
        }
    }
}
