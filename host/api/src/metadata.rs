//! Labels and annotations that stand inside a spec.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels and annotations for the objects that are made from the part of the spec it stands in. They go
/// over those of the resource itself, and the operator's own labels go over them.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct EmbeddedMetadata {
    /// Annotations, a map of strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels, a map of strings. Those that begin with `dask.org/` and that the operator sets can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}
