//! Kubernetes objects in the informer cache: the fields by which they are found, and the rest as JSON text for
//! components. Of thousands of pods, only the fields that decisions need are kept in memory.
//!
//! Parsing is lenient: every object that the API server stores can be read, so that one unusual object never stops a
//! watch.

mod owner;
mod parts;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use dask_operator_core::names::{
    COMPONENT_SCHEDULER, KOPF_ANNOTATIONS, KOPF_FINALIZER, LABEL_CLUSTER, LABEL_COMPONENT,
};
use dask_operator_core::plan::ResourceKind;
use kube::api::{ApiResource, ObjectMeta, Resource};
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::key::ClusterKey;
pub(crate) use owner::OwnerReference;
use owner::is_made_here;
use parts::StatusParts;

/// A Kubernetes object.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// `metadata.name`
    pub(crate) name: Box<str>,
    /// `metadata.namespace`
    pub(crate) namespace: Box<str>,
    /// `metadata.uid`
    pub(crate) uid: Box<str>,
    /// `metadata.resourceVersion`
    pub(crate) resource_version: Box<str>,
    /// `metadata.generation`; 0 if there is none.
    pub(crate) generation: i64,
    /// True if `metadata.deletionTimestamp` is set.
    pub(crate) terminating: bool,
    /// `metadata.ownerReferences`
    pub(crate) owners: Box<[OwnerReference]>,
    /// Value of the label `dask.org/cluster-name`.
    pub(crate) cluster_label: Option<Box<str>>,
    /// Value of the label `dask.org/component`.
    pub(crate) component_label: Option<Box<str>>,
    /// `spec.cluster`, of worker groups and autoscalers.
    pub(crate) spec_cluster: Option<Box<str>>,
    /// `spec.nodeName`, of pods.
    pub(crate) node: Option<Box<str>>,
    /// `status.podIP`, of pods.
    pub(crate) pod_ip: Option<Box<str>>,
    /// True if the condition `Ready` holds, of pods.
    pub(crate) is_ready: bool,
    /// True if, according to `metadata.managedFields`, this operator wrote the label `dask.org/cluster-name`: it writes
    /// the label to every object that it creates, and to no others. Also true if there are no managed fields at all.
    pub(crate) is_made_here: bool,
    /// True if the previous operator left a finalizer or annotations on the object.
    pub(crate) has_kopf_marks: bool,
    /// The whole object as JSON, without what [`Retention`] removes.
    pub(crate) json: Arc<str>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{} ({}, version {})",
            self.namespace, self.name, self.uid, self.resource_version
        )
    }
}

/// Part of an object that is stored. `metadata.managedFields` never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// Everything except for `metadata.managedFields`.
    Whole,
    /// Of `spec` only `nodeName`: the rest of a Pod's `spec` was planned by the components themselves.
    Pod,
}

impl Retention {
    /// Returns the part that is stored of objects of this kind.
    #[must_use]
    pub(crate) fn of(kind: &ResourceKind) -> Self {
        if kind.kind == "Pod" && kind.api_version == "v1" {
            Self::Pod
        } else {
            Self::Whole
        }
    }
}

type Fields = BTreeMap<String, Box<RawValue>>;

/// Parses `raw`. Returns the default of the type if there is no value, or one of another type.
fn or_default<T: DeserializeOwned + Default>(raw: Option<&RawValue>) -> T {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

impl Object {
    /// Extracts the fields of an object. `kind` adds `apiVersion` and `kind`, which items of lists do not have.
    fn from_fields(mut fields: Fields, kind: Option<&ResourceKind>, retention: Retention) -> Self {
        let mut metadata: Fields = or_default(fields.get("metadata").map(AsRef::as_ref));
        let managed = metadata.remove("managedFields");
        let text = |name: &str| or_default::<Box<str>>(metadata.get(name).map(AsRef::as_ref));
        let labels: BTreeMap<String, Box<str>> = or_default(metadata.get("labels").map(AsRef::as_ref));
        let annotations: Fields = or_default(metadata.get("annotations").map(AsRef::as_ref));
        let finalizers: Vec<String> = or_default(metadata.get("finalizers").map(AsRef::as_ref));
        let spec: SpecParts = or_default(fields.get("spec").map(AsRef::as_ref));
        let status: StatusParts = match retention {
            Retention::Pod => or_default(fields.get("status").map(AsRef::as_ref)),
            Retention::Whole => StatusParts::default(),
        };
        let has_kopf_marks = finalizers.iter().any(|finalizer| finalizer == KOPF_FINALIZER)
            || annotations.keys().any(|name| name.starts_with(KOPF_ANNOTATIONS));
        let mut object = Self {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            generation: or_default(metadata.get("generation").map(AsRef::as_ref)),
            terminating: metadata
                .get("deletionTimestamp")
                .is_some_and(|time| time.get() != "null"),
            owners: or_default::<Vec<_>>(metadata.get("ownerReferences").map(AsRef::as_ref)).into(),
            cluster_label: labels.get(LABEL_CLUSTER).cloned(),
            component_label: labels.get(LABEL_COMPONENT).cloned(),
            spec_cluster: spec.cluster,
            node: spec.node_name.clone(),
            is_ready: status.is_ready(),
            pod_ip: status.pod_ip.filter(|address| !address.is_empty()),
            is_made_here: is_made_here(&or_default::<Vec<_>>(managed.as_deref())),
            has_kopf_marks,
            json: Arc::default(),
        };
        if let Some(kind) = kind {
            fields.insert("apiVersion".into(), raw(&kind.api_version));
            fields.insert("kind".into(), raw(&kind.kind));
        }
        fields.insert("metadata".into(), raw(&metadata));
        if retention == Retention::Pod && fields.contains_key("spec") {
            fields.insert(
                "spec".into(),
                raw(&NodeName {
                    node_name: spec.node_name,
                }),
            );
        }
        object.json = serde_json::to_string(&fields).unwrap_or_default().into();
        object
    }

    /// Parses the API server's answer to a write.
    ///
    /// # Errors
    ///
    /// Returns an error if `text` is not a JSON object.
    pub(crate) fn from_json(text: &str, kind: &ResourceKind) -> serde_json::Result<Self> {
        Ok(Self::from_fields(
            serde_json::from_str(text)?,
            Some(kind),
            Retention::of(kind),
        ))
    }

    /// Parses the API server's answer to a list with at most one item, whole or metadata only. Returns `None` if the
    /// list is empty; a list of metadata contains `null` in this case.
    ///
    /// # Errors
    ///
    /// Returns an error if `text` is not a list of objects.
    pub(crate) fn from_list(text: &str, kind: &ResourceKind) -> serde_json::Result<Option<Self>> {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(borrow)]
            items: Option<Vec<&'a RawValue>>,
        }
        let list: List<'_> = serde_json::from_str(text)?;
        let found = list.items.unwrap_or_default().first().copied();
        found.map(|found| Self::from_json(found.get(), kind)).transpose()
    }

    /// Parses the whole object.
    #[must_use]
    pub(crate) fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }

    /// Returns the object with another status.
    #[must_use]
    pub(crate) fn with_status(&self, status: &serde_json::Value) -> Self {
        let mut fields: Fields = serde_json::from_str(&self.json).unwrap_or_default();
        fields.insert("status".into(), raw(status));
        Self {
            json: serde_json::to_string(&fields).unwrap_or_default().into(),
            ..self.clone()
        }
    }

    /// Adds the status of a new Pod to a Pod that was just created, if the API server's answer did not contain a
    /// status.
    #[must_use]
    pub(crate) fn pending(mut self) -> Self {
        if let Ok(mut fields) = serde_json::from_str::<Fields>(&self.json)
            && !fields.contains_key("status")
        {
            fields.insert("status".into(), raw(&serde_json::json!({"phase": "Pending"})));
            self.json = serde_json::to_string(&fields).unwrap_or_default().into();
        }
        self
    }

    /// Returns whether the object is a Pod that, as far as is known, waits for a node or for its containers.
    #[must_use]
    pub(crate) fn has_not_started(&self) -> bool {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Seen {
            kind: Box<str>,
            status: Status,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            phase: Box<str>,
        }
        let seen: Seen = serde_json::from_str(&self.json).unwrap_or_default();
        &*seen.kind == "Pod" && &*seen.status.phase == "Pending"
    }

    /// Returns the name of the cluster whose scheduler pod or scheduler Service this is; `None` for other objects.
    #[must_use]
    pub(crate) fn cluster_of_scheduler(&self) -> Option<&str> {
        let is_scheduler = self.component_label.as_deref() == Some(COMPONENT_SCHEDULER);
        self.cluster_label.as_deref().filter(|_| is_scheduler)
    }

    /// Returns the key of the cluster whose scheduler pod or scheduler Service this is; `None` for other objects.
    #[must_use]
    pub(crate) fn scheduler_of(&self) -> Option<ClusterKey> {
        let cluster = self.cluster_of_scheduler()?;
        Some(ClusterKey::new(&self.namespace, cluster))
    }
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecParts {
    cluster: Option<Box<str>>,
    node_name: Option<Box<str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeName {
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<Box<str>>,
}

/// Object that a watch deserializes. `POD` selects the part that is stored ([`Retention`]), which must be known during
/// parsing.
#[derive(Clone, Debug)]
pub(crate) struct WatchObject<const POD: bool> {
    meta: ObjectMeta,
    object: Object,
}

impl<const POD: bool> WatchObject<POD> {
    /// Returns the object.
    #[must_use]
    pub(crate) fn into_object(self) -> Object {
        self.object
    }
}

impl<'de, const POD: bool> Deserialize<'de> for WatchObject<POD> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let retention = if POD { Retention::Pod } else { Retention::Whole };
        let object = Object::from_fields(Fields::deserialize(deserializer)?, None, retention);
        let meta = ObjectMeta {
            name: Some(object.name.to_string()),
            namespace: Some(object.namespace.to_string()),
            resource_version: Some(object.resource_version.to_string()),
            ..ObjectMeta::default()
        };
        Ok(Self { meta, object })
    }
}

impl<const POD: bool> Resource for WatchObject<POD> {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(resource: &ApiResource) -> std::borrow::Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> std::borrow::Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> std::borrow::Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> std::borrow::Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use dask_operator_core::parent::DaskKind;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    /// Parses an object from a JSON literal.
    pub(crate) fn object(value: &Value) -> Object {
        let kind = ResourceKind::new(
            value["apiVersion"].as_str().unwrap_or_default(),
            value["kind"].as_str().unwrap_or_default(),
        );
        Object::from_json(&value.to_string(), &kind).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns a Pod of a worker group.
    pub(crate) fn pod() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 2,
                "labels": {"dask.org/cluster-name": "a", "dask.org/component": "worker"},
                "managedFields": [{"manager": "dask-operator", "fieldsV1": {"f:metadata": {"f:labels": {"f:dask.org/cluster-name": {}}}}}],
                "ownerReferences": [{
                    "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup", "name": "g", "uid": "o",
                    "controller": true,
                }],
            },
            "spec": {"nodeName": "node-1", "containers": [{"name": "worker"}]},
            "status": {"phase": "Running", "podIP": "10.1.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    #[rstest]
    #[case::metadata(json!({"items": null}), None)]
    #[case::whole(json!({"items": []}), None)]
    #[case::found(json!({"items": [pod()]}), Some("p"))]
    fn reads_a_list_with_one_item(#[case] list: Value, #[case] expected: Option<&str>) {
        let found = Object::from_list(&list.to_string(), &ResourceKind::new("v1", "Pod"));
        let found = found.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found.as_ref().map(|found| &*found.name), expected);
    }

    #[test]
    fn a_pod_is_stored_without_unused_fields() {
        let object = object(&pod());
        assert_eq!(
            (
                &*object.name,
                &*object.namespace,
                &*object.uid,
                &*object.resource_version,
                object.generation
            ),
            ("p", "n", "u", "7", 2)
        );
        assert!(!object.terminating);
        assert_eq!(
            object.dask_owners().collect::<Vec<_>>(),
            [(DaskKind::WorkerGroup, "g")]
        );
        let value = object.value();
        assert_eq!(value["spec"], json!({"nodeName": "node-1"}));
        assert_eq!(value["status"], pod()["status"]);
        assert_eq!(value["metadata"]["managedFields"], Value::Null);
        assert_eq!(value["metadata"]["labels"], pod()["metadata"]["labels"]);
    }

    #[test]
    fn watched_pods_are_stored_without_their_spec() {
        let watched: WatchObject<true> =
            serde_json::from_value(pod()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(watched.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(
            watched.into_object().value()["spec"],
            json!({"nodeName": "node-1"})
        );
        let whole: WatchObject<false> =
            serde_json::from_value(pod()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(whole.into_object().value()["spec"], pod()["spec"]);
    }

    #[rstest]
    #[case::nothing(json!({}))]
    #[case::null(json!({"metadata": null, "spec": null}))]
    #[case::wrong_types(json!({
        "metadata": {"name": 1, "labels": ["a"], "ownerReferences": {"a": 1}, "generation": "x", "finalizers": "f"},
        "spec": "text",
    }))]
    #[case::label_number(json!({"metadata": {"labels": {"dask.org/cluster-name": 1}}}))]
    fn unusual_objects_can_be_read(#[case] value: Value) {
        let watched: WatchObject<true> =
            serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"));
        let object = watched.into_object();
        assert!(object.name.is_empty() && object.owners.is_empty() && object.cluster_label.is_none());
    }

    #[rstest]
    #[case::finalizer(json!({"finalizers": ["a", "kopf.zalando.org/KopfFinalizerMarker"]}), true)]
    #[case::annotation(json!({"annotations": {"kopf.zalando.org/last-handled-configuration": "{}"}}), true)]
    #[case::others(json!({"finalizers": ["a"], "annotations": {"kopf": "x"}}), false)]
    fn marks_of_the_previous_operator_are_detected(#[case] metadata: Value, #[case] expected: bool) {
        assert_eq!(object(&json!({"metadata": metadata})).has_kopf_marks, expected);
    }
}
