//! Autoscalers that scale the same worker group. Of several only the oldest is active.

use dask_operator_core::names::DEFAULT_GROUP;
use serde_json::Value;

/// Returns what a `DaskAutoscaler` scales: the cluster, and the worker group. None where it names no cluster.
#[must_use]
pub fn scaled(object: &Value) -> Option<(&str, String)> {
    let spec = &object["spec"];
    let cluster = spec["cluster"].as_str().filter(|cluster| !cluster.is_empty())?;
    let group = spec["workerGroup"].as_str();
    Some((
        cluster,
        group.map_or_else(|| default_group(cluster), str::to_owned),
    ))
}

/// Returns the name of a cluster's default worker group.
#[must_use]
pub fn default_group(cluster: &str) -> String {
    format!("{cluster}{DEFAULT_GROUP}")
}

/// Returns what is said of a `DaskAutoscaler` that scales the worker group `group` of the autoscaler `other`: the field, and a
/// sentence.
#[must_use]
pub fn mistake(object: &Value, other: &str, group: &str) -> (&'static str, String) {
    let field = match object["spec"]["workerGroup"].is_string() {
        true => "spec.workerGroup",
        false => "spec.cluster",
    };
    let message = format!(
        "DaskAutoscaler {other} scales the worker group {group} too, and of several only the oldest is active: change or delete \
         one of them, or name another worker group in spec.workerGroup"
    );
    (field, message)
}
