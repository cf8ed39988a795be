//! Compact form of plugin resources in a watch.

use std::borrow::Cow;

use dask_operator_api::PluginStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;
use serde::de::Deserializer;

use super::{PluginKind, Resource};

/// A plugin resource as a watch receives it, with only the used fields of its metadata. In particular `managedFields`, which name
/// each field of the settings, would take many times the memory of their text.
#[derive(Clone, Debug)]
pub(in super::super) struct Lean<K>(K);

impl<K: PluginKind> Lean<K> {
    /// Converts the resource to the common form.
    pub(in super::super) fn read(self) -> Resource {
        self.0.read()
    }
}

impl<'de, K: PluginKind> Deserialize<'de> for Lean<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire {
            metadata,
            spec,
            status,
        } = Wire::<K::Spec>::deserialize(deserializer)?;
        let metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp,
            ..ObjectMeta::default()
        };
        Ok(Self(K::of(metadata, spec, status)))
    }
}

/// Fields of a plugin resource that are read.
#[derive(Deserialize)]
struct Wire<S> {
    metadata: Metadata,
    spec: S,
    status: Option<PluginStatus>,
}

/// Fields of `metadata` that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
}

impl<K: PluginKind> kube::Resource for Lean<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind(of: &()) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &()) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &()) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &()) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::ClusterDaskPlugin;
    use kube::Resource as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_only_the_used_metadata() -> serde_json::Result<()> {
        let object = json!({
            "apiVersion": "kubernetes.dask.org/v1", "kind": "ClusterDaskPlugin",
            "metadata": {
                "name": "p", "uid": "u", "generation": 3, "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {"a": "b"},
                "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {"source": {}},
        });
        let lean: Lean<ClusterDaskPlugin> = serde_json::from_str(&object.to_string())?;
        let metadata = lean.meta();
        assert_eq!(metadata.resource_version.as_deref(), Some("7"));
        assert!(metadata.managed_fields.is_none() && metadata.annotations.is_none());
        let resource = lean.read();
        assert_eq!((resource.uid.as_str(), resource.generation), ("u", 3));
        assert!(resource.created.is_some());
        Ok(())
    }
}
