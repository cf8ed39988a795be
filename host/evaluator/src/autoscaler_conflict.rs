//! Autoscalers that scale the same worker group. Only the oldest one of them is active. The webhook looks for them in the
//! informer cache, and `dask-operator render` in the manifests.

use dask_operator_core::names::DEFAULT_GROUP;
use serde_json::Value;

/// Returns the cluster and the worker group that a `DaskAutoscaler` scales; `None` if it names no cluster.
#[must_use]
pub fn scaled_group(object: &Value) -> Option<(&str, String)> {
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

/// Returns the field and the message for a `DaskAutoscaler` that scales the worker group `group`, which the autoscaler
/// `other` scales too.
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
