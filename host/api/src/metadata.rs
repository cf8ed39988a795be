//! Labels and annotations in a spec.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels and annotations for the objects that are created from this part of the spec. They take precedence over those of
/// the resource itself, and the operator's own labels take precedence over both.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct EmbeddedMetadata {
    /// Annotations, a map of strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels, a map of strings. Labels that begin with `dask.org/` and that the operator sets can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}
