//! Helpers for the tests of plugins.

use dask_operator_core::digest::Digest;
use serde_json::Value;

use crate::plugins::resource::Resource;

/// Returns the resource of a DaskPlugin, from JSON.
pub(super) fn of_namespace(object: Value) -> Resource {
    Resource::of_namespace(serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}")))
}

/// Returns the resource of a ClusterDaskPlugin, from JSON.
pub(super) fn of_cluster(object: Value) -> Resource {
    Resource::of_cluster(serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}")))
}

/// Returns the digest of these bytes as text.
pub(super) fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}
