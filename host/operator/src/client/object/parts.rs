//! Partial parsing of objects, without a JSON tree of everything that users write into them: a tree may take eighty
//! times as much memory as the text.

use std::collections::BTreeMap;

use dask_operator_core::parent::{DaskKind, Parent, ParentError};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Fields, Object};

impl Object {
    /// Returns the Dask resource of this kind that the object represents.
    ///
    /// # Errors
    ///
    /// Returns an error if its kind needs `spec.cluster` and it has none.
    pub(crate) fn parent(&self, kind: DaskKind) -> Result<Parent, ParentError> {
        let cluster = match kind {
            DaskKind::Cluster | DaskKind::Job => Some(&self.name),
            DaskKind::WorkerGroup | DaskKind::Autoscaler => self.spec_cluster.as_ref(),
        };
        let cluster = cluster.filter(|cluster| !cluster.is_empty());
        Ok(Parent {
            kind,
            name: self.name.to_string(),
            namespace: self.namespace.to_string(),
            uid: self.uid.to_string(),
            cluster: cluster.ok_or(ParentError::Missing("spec.cluster"))?.to_string(),
        })
    }

    /// `metadata.labels`
    #[must_use]
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Labelled {
            metadata: Metadata,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Metadata {
            labels: BTreeMap<String, String>,
        }
        let labelled: Labelled = serde_json::from_str(&self.json).unwrap_or_default();
        labelled.metadata.labels
    }

    /// Returns `spec.worker.replicas`, of worker groups; null if there is none.
    #[must_use]
    pub(crate) fn replicas(&self) -> Value {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Group {
            spec: Spec,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Spec {
            worker: Worker,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Worker {
            replicas: Value,
        }
        let group: Group = serde_json::from_str(&self.json).unwrap_or_default();
        group.spec.worker.replicas
    }

    /// Parses the object without its `spec`.
    #[must_use]
    pub(crate) fn without_spec(&self) -> Value {
        let mut fields: Fields = serde_json::from_str(&self.json).unwrap_or_default();
        fields.remove("spec");
        let read = |(name, raw): (String, Box<RawValue>)| {
            let value: Value = serde_json::from_str(raw.get()).ok()?;
            Some((name, value))
        };
        Value::Object(fields.into_iter().filter_map(read).collect())
    }
}

/// The part of a pod's status that is needed to reach its scheduler.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct StatusParts {
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: Option<Box<str>>,
    conditions: Vec<ConditionParts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConditionParts {
    #[serde(rename = "type")]
    type_: Box<str>,
    status: Box<str>,
}

impl StatusParts {
    pub(crate) fn is_ready(&self) -> bool {
        let is_ready_condition =
            |condition: &ConditionParts| &*condition.type_ == "Ready" && &*condition.status == "True";
        self.conditions.iter().any(is_ready_condition)
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_core::names::DASK_API_VERSION;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::client::object::tests::{object, pod};

    fn group() -> Value {
        json!({
            "apiVersion": DASK_API_VERSION, "kind": "DaskWorkerGroup",
            "metadata": {"name": "g", "namespace": "n", "uid": "u", "generation": 2, "labels": {"team": "a"}},
            "spec": {"cluster": "a", "worker": {"replicas": 1}},
            "status": {"phase": "Running"},
        })
    }

    /// Parsing with and without a tree must give equal results.
    #[rstest]
    #[case("DaskWorkerGroup", DaskKind::WorkerGroup, json!({"cluster": "a"}))]
    #[case("DaskCluster", DaskKind::Cluster, json!({}))]
    #[case("DaskJob", DaskKind::Job, json!({"cluster": "other"}))]
    #[case("DaskAutoscaler", DaskKind::Autoscaler, json!({"cluster": ""}))]
    #[case("DaskAutoscaler", DaskKind::Autoscaler, json!({"cluster": 1}))]
    fn the_parent_is_read_from_the_object(#[case] kind: &str, #[case] dask: DaskKind, #[case] spec: Value) {
        let mut value = group();
        value["kind"] = kind.into();
        value["spec"] = spec;
        assert_eq!(object(&value).parent(dask), Parent::from_object(&value));
    }

    #[test]
    fn reads_only_the_labels() {
        let labels = object(&group()).labels();
        assert_eq!(labels, BTreeMap::from([("team".to_owned(), "a".to_owned())]));
        assert!(object(&json!({"metadata": {"name": "g"}})).labels().is_empty());
    }

    #[rstest]
    #[case(json!({"worker": {"replicas": 3, "spec": {"containers": []}}}), json!(3))]
    #[case(json!({"worker": {}}), Value::Null)]
    #[case(Value::Null, Value::Null)]
    fn reads_only_the_replicas(#[case] spec: Value, #[case] replicas: Value) {
        let mut value = group();
        value["spec"] = spec;
        assert_eq!(object(&value).replicas(), replicas);
    }

    #[test]
    fn reads_all_but_the_spec() {
        let mut expected = group();
        if let Some(fields) = expected.as_object_mut() {
            fields.remove("spec");
        }
        assert_eq!(object(&group()).without_spec(), expected);
    }

    #[rstest]
    #[case::ready(json!({"podIP": "10.1.0.1", "conditions": [{"type": "Ready", "status": "True"}]}), true, Some("10.1.0.1"))]
    #[case::not_ready(json!({"podIP": "10.1.0.1", "conditions": [{"type": "Ready", "status": "False"}]}), false, Some("10.1.0.1"))]
    #[case::scheduled(json!({"podIP": "", "conditions": [{"type": "PodScheduled", "status": "True"}]}), false, None)]
    #[case::new(json!({}), false, None)]
    fn reads_address_and_readiness_of_a_pod(
        #[case] status: Value,
        #[case] is_ready: bool,
        #[case] address: Option<&str>,
    ) {
        let mut pod = pod();
        pod["status"] = status;
        let object = object(&pod);
        assert_eq!((object.is_ready, object.pod_ip.as_deref()), (is_ready, address));
    }
}
