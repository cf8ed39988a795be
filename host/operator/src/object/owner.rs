//! Whose an object is, and who made it.

use std::collections::BTreeMap;

use dask_operator_core::names::{DASK_API_VERSION, FIELD_MANAGER, LABEL_CLUSTER};
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::ResourceKind;
use dask_operator_core::predecessor;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Object;

/// One of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// As in a manifest.
    pub api_version: Box<str>,
    /// As in a manifest.
    pub kind: Box<str>,
    /// `metadata.name` of the owner.
    pub name: Box<str>,
    /// `metadata.uid` of the owner.
    pub uid: Box<str>,
    /// Whether the owner is the one that manages it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub controller: bool,
    /// Whether the owner can't go before it in a foreground deletion.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub block_owner_deletion: bool,
}

impl OwnerReference {
    /// The kind of Dask resource that it names; none where it names something else.
    #[must_use]
    pub fn dask_kind(&self) -> Option<DaskKind> {
        DaskKind::from_kind(&self.kind).filter(|_| *self.api_version == *DASK_API_VERSION)
    }

    /// Whether it names this resource: each part of it has to. A uid alone is no secret.
    #[must_use]
    pub fn names(&self, kind: DaskKind, name: &str, uid: &str) -> bool {
        self.dask_kind() == Some(kind) && *self.name == *name && *self.uid == *uid
    }
}

impl Object {
    /// Whether it, an object of `kind`, is a child of `parent`: `parent` controls it, it has the label of the cluster, and
    /// this operator or its predecessor has made it. What users make is none, whatever labels and owners they give it.
    #[must_use]
    pub fn is_child_of(&self, kind: &ResourceKind, parent: &Parent) -> bool {
        let controls = |owner: &OwnerReference| owner.names(parent.kind, &parent.name, &parent.uid);
        let by_predecessor = || predecessor::makes(parent, kind, &self.name, self.component_label.as_deref());
        self.controller().is_some_and(controls)
            && *self.namespace == *parent.namespace
            && self.cluster_label.as_deref() == Some(&*parent.cluster)
            && (self.is_made_here || by_predecessor())
    }

    /// The owner that manages it.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owners.iter().find(|owner| owner.controller)
    }

    /// Names the Dask resources that own it.
    pub fn dask_owners(&self) -> impl Iterator<Item = (DaskKind, &str)> {
        self.owners
            .iter()
            .filter_map(|owner| Some((owner.dask_kind()?, owner.name.as_ref())))
    }
}

/// One of `metadata.managedFields`: who wrote which fields.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ManagedFields {
    manager: Box<str>,
    fields_v1: WrittenFields,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenFields {
    #[serde(rename = "f:metadata")]
    metadata: WrittenMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenMetadata {
    #[serde(rename = "f:labels")]
    labels: BTreeMap<String, IgnoredAny>,
}

/// Whether this operator wrote the label of the cluster, or nothing is noted.
pub(super) fn is_made_here(managed: &[ManagedFields]) -> bool {
    let is_label = |field: &String| field.strip_prefix("f:") == Some(LABEL_CLUSTER);
    managed.is_empty()
        || managed.iter().any(|entry| {
            &*entry.manager == FIELD_MANAGER && entry.fields_v1.metadata.labels.keys().any(is_label)
        })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::tests::{object, pod};
    use super::*;

    /// The worker group that [`pod`] belongs to.
    fn group() -> Parent {
        Parent {
            kind: DaskKind::WorkerGroup,
            name: "g".into(),
            namespace: "n".into(),
            uid: "o".into(),
            cluster: "a".into(),
        }
    }

    #[rstest]
    #[case::as_it_was_made("/metadata/name", json!("p"), true)]
    #[case::of_another_owner("/metadata/ownerReferences/0/uid", json!("x"), false)]
    #[case::of_another_kind("/metadata/ownerReferences/0/kind", json!("ReplicaSet"), false)]
    #[case::of_another_name("/metadata/ownerReferences/0/name", json!("h"), false)]
    #[case::of_another_api("/metadata/ownerReferences/0/apiVersion", json!("no.such/v1"), false)]
    #[case::owned_and_not_controlled("/metadata/ownerReferences/0/controller", json!(false), false)]
    #[case::in_another_namespace("/metadata/namespace", json!("m"), false)]
    #[case::of_another_cluster("/metadata/labels/dask.org~1cluster-name", json!("b"), false)]
    #[case::made_by_a_user("/metadata/managedFields/0/manager", json!("kubectl-client-side-apply"), false)]
    #[case::only_adopted("/metadata/managedFields/0/fieldsV1/f:metadata", json!({"f:ownerReferences": {}}), false)]
    #[case::nothing_noted("/metadata/managedFields", json!([]), true)]
    fn a_child_is_what_was_made_for_its_parent(
        #[case] pointer: &str,
        #[case] value: Value,
        #[case] expected: bool,
    ) {
        let mut pod = pod();
        *pod.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
        assert_eq!(
            object(&pod).is_child_of(&ResourceKind::new("v1", "Pod"), &group()),
            expected
        );
    }

    #[test]
    fn a_child_of_the_predecessor_is_known_by_its_name() {
        let mut pod = pod();
        pod["metadata"]["managedFields"][0]["manager"] = json!("kopf");
        let is_child = |pod: &Value| object(pod).is_child_of(&ResourceKind::new("v1", "Pod"), &group());
        assert!(!is_child(&pod));
        pod["metadata"]["name"] = json!("g-worker-0123456789");
        assert!(is_child(&pod));
    }
}
