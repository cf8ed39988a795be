//! Which workers are about to lose their node.

use std::collections::HashMap;

use dask_operator_plugin::dask::kinds;
use dask_operator_plugin::dask::pod::Pod;
use dask_operator_plugin::prelude::*;

/// Nodes that are about to go, and why.
#[derive(Debug)]
pub(crate) struct Notices(HashMap<String, String>);

impl Notices {
    /// Looks at the nodes of an observation: one is about to go when it has a taint with one of the keys `drain`, unless
    /// the workers, whose spec is `pod_spec`, tolerate it: then they may stay there, and others would come there.
    pub(crate) fn of(observation: &Observation, pod_spec: &Value, drain: &[String]) -> Result<Self, Error> {
        let tolerations = pod_spec["tolerations"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
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
                let why = format!("node {name} is about to go: it has the taint {key}");
                nodes.insert(name, why);
            }
        }
        Ok(Self(nodes))
    }

    /// Why a pod is about to lose its node, if it is.
    pub(crate) fn about(&self, pod: &Pod) -> Option<String> {
        let told = pod
            .disruption()
            .map(|cause| format!("it is about to go: {cause}"));
        told.or_else(|| self.0.get(pod.node()?).cloned())
    }
}

/// As the Kubernetes scheduler sees it: what a toleration leaves out matches everything.
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
    fn tolerations() {
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
