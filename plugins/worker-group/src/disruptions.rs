//! Detection of workers that are about to lose their node.

use std::collections::HashMap;

use dask_operator_plugin::dask::kinds;
use dask_operator_plugin::dask::pod::Pod;
use dask_operator_plugin::dask::resource;
use dask_operator_plugin::prelude::*;

/// Nodes that are about to be removed, with the reasons.
#[derive(Debug)]
pub(crate) struct Disruptions(HashMap<String, String>);

impl Disruptions {
    /// Reads the nodes of an observation. A node is about to be removed if it has a taint with one of the keys in `drain`,
    /// unless the workers, whose spec is `pod_spec`, tolerate it: tolerating workers may stay on the node, and new ones could
    /// be scheduled to it.
    pub(crate) fn of(observation: &Observation, pod_spec: &Value, drain: &[String]) -> Result<Self, Error> {
        let tolerations = resource::items(&pod_spec["tolerations"]);
        let mut nodes = HashMap::new();
        for observed in observation.related_of(&kinds::node()) {
            let node: Value = observed.read()?;
            let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
            let taint = taints.find(|taint| {
                drain.iter().any(|key| taint["key"] == key.as_str())
                    && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
            });
            if let Some(key) = taint.and_then(|taint| taint["key"].as_str()) {
                let name = observed.key.name.clone();
                let reason = format!("node {name} is about to go: it has the taint {key}");
                nodes.insert(name, reason);
            }
        }
        Ok(Self(nodes))
    }

    /// Returns the reason why a pod is about to lose its node. `None` if it keeps it.
    pub(crate) fn about(&self, pod: &Pod) -> Option<String> {
        let disruption = pod
            .disruption()
            .map(|cause| format!("it is about to go: {cause}"));
        disruption.or_else(|| self.0.get(pod.node()?).cloned())
    }
}

/// Returns whether a toleration matches a taint, as the Kubernetes scheduler decides it: omitted fields match everything.
fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let same = |field: &str| text(toleration, field) == text(taint, field);
    let any = |field: &str| text(toleration, field).is_empty();
    let exists = toleration["operator"] == "Exists";
    (any("effect") || same("effect")) && (same("key") || (any("key") && exists)) && (exists || same("value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_tolerations_as_kubernetes_does() {
        let taint = json!({"key": "k", "value": "v", "effect": "NoSchedule"});
        for (toleration, expected) in [
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "value": "v", "effect": "NoSchedule"}), true),
            (json!({"key": "k", "operator": "Equal", "value": "v"}), true),
            (json!({"key": "k", "value": "w"}), false),
            (
                json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}),
                false,
            ),
            (json!({"key": "l", "operator": "Exists"}), false),
            (json!({}), false),
        ] {
            assert_eq!(tolerates(&toleration, &taint), expected, "{toleration}");
        }
    }
}
