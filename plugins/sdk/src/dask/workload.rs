//! Kubernetes objects for schedulers and workers: Pods, or Deployments with one replica.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::kinds;
use super::metadata::Metadata;
use super::pod::Cause;
use super::resource::object;
use super::termination_message;
use super::time;
use crate::contract::{ResourceKind, Timestamp};

/// The kind of object for schedulers and workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Pods. The operator replaces lost ones.
    #[default]
    Pod,
    /// Deployments with one replica each, as in dask-kubernetes.
    Deployment,
}

impl Workload {
    /// Returns the kind of the objects.
    pub fn kind(self) -> ResourceKind {
        match self {
            Self::Pod => kinds::pod(),
            Self::Deployment => kinds::deployment(),
        }
    }

    /// Creates the object. `selector` contains labels that never change; `metadata` must contain them, too.
    pub fn object(self, metadata: &Metadata, mut pod_spec: Value, selector: &[(&str, &str)]) -> Value {
        termination_message::keep(&mut pod_spec);
        match self {
            Self::Pod => object(metadata, pod_spec),
            Self::Deployment => {
                // A Deployment accepts only the policy `Always`.
                if let Some(pod_spec) = pod_spec.as_object_mut() {
                    pod_spec.remove("restartPolicy");
                }
                let selector: serde_json::Map<String, Value> = selector
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), json!(value)))
                    .collect();
                let spec = json!({
                    "replicas": 1,
                    "selector": {"matchLabels": selector},
                    // No two pods with the same name at the same time.
                    "strategy": {"type": "Recreate"},
                    "template": object(metadata, pod_spec),
                });
                object(metadata, spec)
            }
        }
    }
}

/// State of a Deployment with one replica.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DeploymentState {
    metadata: DeploymentMeta,
    status: DeploymentStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeploymentMeta {
    creation_timestamp: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeploymentStatus {
    ready_replicas: u32,
    conditions: Vec<DeploymentCondition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct DeploymentCondition {
    status: String,
    reason: String,
    message: String,
}

impl DeploymentState {
    /// Returns whether its pod is ready.
    pub fn is_ready(&self) -> bool {
        self.status.ready_replicas > 0
    }

    /// Returns the time of creation.
    pub fn created(&self) -> Option<Timestamp> {
        self.metadata.creation_timestamp.as_deref().and_then(time::parse)
    }

    /// Returns the value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let annotations = self.metadata.annotations.as_ref()?;
        annotations.get(name).map(String::as_str)
    }

    /// Returns the reason that the Deployment is not available: the first condition that is false.
    pub fn trouble(&self) -> Option<Cause> {
        let conditions = self.status.conditions.iter();
        conditions
            .filter(|condition| condition.status == "False" && !condition.reason.is_empty())
            .map(|condition| Cause::reported(&condition.reason, &condition.message))
            .next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_selects_its_pods_and_always_restarts_them() {
        let labels = [("a", "b")];
        let metadata = Metadata::default().reserved(&labels).reserved(&[("team", "x")]);
        let spec = json!({"containers": [], "restartPolicy": "Never"});
        let deployment = Workload::Deployment.object(&metadata, spec.clone(), &labels);
        assert_eq!(deployment["spec"]["selector"]["matchLabels"], json!({"a": "b"}));
        assert_eq!(
            deployment["spec"]["template"]["metadata"]["labels"],
            json!({"a": "b", "team": "x"})
        );
        assert_eq!(deployment["spec"]["template"]["spec"], json!({"containers": []}));
        let pod = Workload::Pod.object(&metadata, spec, &labels);
        assert_eq!(pod["spec"]["restartPolicy"], "Never");
    }
}
