//! Settings of the job component.

use dask_operator_plugin::dask::metadata::{self, Ignored};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the job component; each has a default.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The image of runners, schedulers and workers whose manifest names none. Without it, a container that is written without an image is an
    /// error where no other part of the manifest names one.
    pub default_image: Option<String>,
    /// The domain of the Kubernetes cluster, for scheduler addresses with a full name: `cluster.local`. Without it they
    /// end with `.svc`, which works on any domain.
    pub cluster_domain: Option<String>,
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
            cluster_domain: None,
            ignored_annotations: metadata::marks_of_tools(),
            ignored_labels: metadata::marks_of_tools(),
        }
    }
}
