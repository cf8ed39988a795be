//! Settings of the job plugin.

use dask_operator_plugin::dask::metadata::{self, Ignored};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the job plugin. Each has a default.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The image of runners, schedulers and workers whose manifest names none. Without this setting, a container without an
    /// image is an error, unless another part of the manifest names one.
    pub default_image: Option<String>,
    /// The domain of the Kubernetes cluster, for scheduler addresses with a fully qualified name: `cluster.local`. Without it,
    /// addresses end with `.svc`, which works with every domain.
    pub cluster_domain: Option<String>,
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
            cluster_domain: None,
            ignored_annotations: metadata::marks_of_tools(),
            ignored_labels: metadata::marks_of_tools(),
        }
    }
}
