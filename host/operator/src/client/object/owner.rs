//! Owners and creators of objects.

use std::collections::BTreeMap;

use dask_operator_core::names::{DASK_API_VERSION, FIELD_MANAGER, LABEL_CLUSTER};
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::ResourceKind;
use dask_operator_core::predecessor;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Object;

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OwnerReference {
    /// `apiVersion` of the owner.
    pub(crate) api_version: Box<str>,
    /// `kind` of the owner.
    pub(crate) kind: Box<str>,
    /// `metadata.name` of the owner.
    pub(crate) name: Box<str>,
    /// `metadata.uid` of the owner.
    pub(crate) uid: Box<str>,
    /// True if the owner is the managing controller.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) controller: bool,
    /// True if a foreground deletion of the owner waits for this object.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) block_owner_deletion: bool,
}

impl OwnerReference {
    /// Returns the kind of the Dask resource that this names; `None` for other owners.
    #[must_use]
    pub(crate) fn dask_kind(&self) -> Option<DaskKind> {
        DaskKind::from_kind(&self.kind).filter(|_| *self.api_version == *DASK_API_VERSION)
    }

    /// Returns whether this names the given resource. Every part must match, because a uid alone is no secret.
    #[must_use]
    pub(crate) fn names(&self, kind: DaskKind, name: &str, uid: &str) -> bool {
        self.dask_kind() == Some(kind) && *self.name == *name && *self.uid == *uid
    }
}

impl Object {
    /// Returns whether this object of `kind` is a child of `parent`: `parent` is its controller, it has the label of
    /// the cluster, and this operator or its predecessor has created it. Objects that users created are not children,
    /// whatever labels and owners they have.
    #[must_use]
    pub(crate) fn is_child_of(&self, kind: &ResourceKind, parent: &Parent) -> bool {
        let controls = |owner: &OwnerReference| owner.names(parent.kind, &parent.name, &parent.uid);
        let by_predecessor = || predecessor::makes(parent, kind, &self.name, self.component_label.as_deref());
        self.controller().is_some_and(controls)
            && *self.namespace == *parent.namespace
            && self.cluster_label.as_deref() == Some(&*parent.cluster)
            && (self.is_made_here || by_predecessor())
    }

    /// Returns the owner that is the managing controller.
    #[must_use]
    pub(crate) fn controller(&self) -> Option<&OwnerReference> {
        self.owners.iter().find(|owner| owner.controller)
    }

    /// Returns kind and name of the Dask resources that own this object.
    pub(crate) fn dask_owners(&self) -> impl Iterator<Item = (DaskKind, &str)> {
        self.owners
            .iter()
            .filter_map(|owner| Some((owner.dask_kind()?, owner.name.as_ref())))
    }
}

/// One entry of `metadata.managedFields`: a field manager and the fields that it wrote.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ManagedFields {
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

/// Returns whether this operator wrote the label of the cluster. Also true if there are no managed fields.
pub(crate) fn is_made_here(managed: &[ManagedFields]) -> bool {
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

    /// Returns the worker group that [`pod`] belongs to.
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
    fn only_objects_created_for_the_parent_are_children(
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
    fn children_of_the_previous_operator_are_recognized_by_name() {
        let mut pod = pod();
        pod["metadata"]["managedFields"][0]["manager"] = json!("kopf");
        let is_child = |pod: &Value| object(pod).is_child_of(&ResourceKind::new("v1", "Pod"), &group());
        assert!(!is_child(&pod));
        pod["metadata"]["name"] = json!("g-worker-0123456789");
        assert!(is_child(&pod));
    }
}
