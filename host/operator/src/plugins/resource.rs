//! DaskPlugin and ClusterDaskPlugin resources, as the rest of this folder takes them.

use std::fmt::Debug;
use std::time::Duration;

use dask_operator_api::{ClusterDaskPlugin, DaskPlugin, DaskPluginSpec, PluginStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::{NamespaceResourceScope, ParseExpressionError, Selector};
use kube::{Resource as _, ResourceExt as _};

use super::catalog::NAMESPACE_NAME;
use super::{PluginId, Scope};

/// How often a file is looked at.
const FILE_REFRESH: Duration = Duration::from_secs(10);

/// And a ConfigMap, for which the API server has to be asked.
const CONFIG_MAP_REFRESH: Duration = Duration::from_secs(30);

/// A plugin resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resource {
    /// Which one.
    pub(super) id: PluginId,
    /// `metadata.uid`
    pub(super) uid: String,
    /// `metadata.generation`
    pub(super) generation: i64,
    /// What is wanted.
    pub(super) spec: DaskPluginSpec,
    /// What it is for.
    pub(super) scope: Scope,
    /// Whether it takes more than the names of namespaces to say which it is for.
    pub(super) chooses_by_labels: bool,
    /// What was made of it.
    pub(super) status: PluginStatus,
}

impl Resource {
    /// Reads a plugin of a namespace.
    ///
    /// # Errors
    ///
    /// When a selector makes no sense.
    pub(super) fn of_namespace(object: DaskPlugin) -> Result<Self, ParseExpressionError> {
        let namespace = object.namespace();
        let scope = Scope {
            namespace: namespace.clone(),
            namespaces: Selector::default(),
            labels: selector(object.spec.selector.as_ref())?,
        };
        Ok(Self::new(
            namespace,
            object.metadata,
            object.spec,
            scope,
            object.status,
        ))
    }

    /// Reads a plugin of the cluster.
    ///
    /// # Errors
    ///
    /// When a selector makes no sense.
    pub(super) fn of_cluster(object: ClusterDaskPlugin) -> Result<Self, ParseExpressionError> {
        let scope = Scope {
            namespace: None,
            namespaces: selector(object.spec.namespace_selector.as_ref())?,
            labels: selector(object.spec.selector.as_ref())?,
        };
        let chooses_by_labels = object.spec.namespace_selector.as_ref().is_some_and(by_labels);
        let resource = Self::new(None, object.metadata, object.spec.into(), scope, object.status);
        Ok(Self {
            chooses_by_labels,
            ..resource
        })
    }

    fn new(
        namespace: Option<String>,
        metadata: ObjectMeta,
        spec: DaskPluginSpec,
        scope: Scope,
        status: Option<PluginStatus>,
    ) -> Self {
        Self {
            id: PluginId {
                namespace,
                name: metadata.name.unwrap_or_default(),
            },
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            spec,
            scope,
            chooses_by_labels: false,
            status: status.unwrap_or_default(),
        }
    }

    /// Its settings, a JSON object.
    pub(super) fn settings(&self) -> String {
        serde_json::Value::Object(self.spec.settings.clone().unwrap_or_default()).to_string()
    }

    /// How often its source is looked at for something else; never where there is none. Volumes that hold a ConfigMap
    /// change with it, without anybody touching this resource.
    pub(super) fn refresh(&self) -> Option<Duration> {
        let spec = &self.spec;
        if let Some(seconds) = spec.refresh_seconds {
            return u64::try_from(seconds).ok().map(Duration::from_secs);
        }
        // Other bytes would be refused.
        if spec.digest.is_some() {
            return None;
        }
        match (&spec.source.file, &spec.source.config_map) {
            (Some(_), _) => Some(FILE_REFRESH),
            (None, Some(_)) => Some(CONFIG_MAP_REFRESH),
            (None, None) => None,
        }
    }

    /// The namespace of what it names.
    pub(super) fn namespace_of<'a>(&'a self, named: Option<&'a String>) -> &'a str {
        self.id.namespace.as_ref().or(named).map_or("", String::as_str)
    }

    /// As events name it.
    pub(super) fn reference(&self) -> ObjectReference {
        let kind = match self.id.namespace {
            Some(_) => DaskPlugin::kind(&()),
            None => ClusterDaskPlugin::kind(&()),
        };
        ObjectReference {
            api_version: Some(DaskPlugin::api_version(&()).into_owned()),
            kind: Some(kind.into_owned()),
            name: Some(self.id.name.clone()),
            namespace: self.id.namespace.clone(),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

fn selector(selector: Option<&LabelSelector>) -> Result<Selector, ParseExpressionError> {
    selector
        .cloned()
        .map_or_else(|| Ok(Selector::default()), Selector::try_from)
}

/// Whether a selector of namespaces names other labels than the one that is each namespace's own name.
fn by_labels(selector: &LabelSelector) -> bool {
    let labels = selector.match_labels.iter().flatten().map(|(key, _)| key);
    let expressions = selector.match_expressions.iter().flatten();
    labels
        .chain(expressions.map(|expression| &expression.key))
        .any(|key| key != NAMESPACE_NAME)
}

/// Both kinds of plugin resources, for watches.
pub(super) trait PluginKind:
    kube::Resource<DynamicType = ()> + Clone + Debug + serde::de::DeserializeOwned + Send + 'static
{
    /// The resource as the rest takes it.
    fn read(self) -> Result<Resource, ParseExpressionError>;
}

impl PluginKind for DaskPlugin
where
    Self: kube::Resource<Scope = NamespaceResourceScope>,
{
    fn read(self) -> Result<Resource, ParseExpressionError> {
        Resource::of_namespace(self)
    }
}

impl PluginKind for ClusterDaskPlugin {
    fn read(self) -> Result<Resource, ParseExpressionError> {
        Resource::of_cluster(self)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::file(json!({"source": {"file": {"path": "/p.wasm"}}}), Some(10))]
    #[case::config_map(json!({"source": {"configMap": {"name": "p", "key": "p.wasm"}}}), Some(30))]
    #[case::image(json!({"source": {"oci": {"image": "ghcr.io/acme/p:1"}}}), None)]
    #[case::these_bytes(json!({"source": {"file": {"path": "/p.wasm"}}, "digest": "sha256:1"}), None)]
    #[case::said(json!({"source": {"file": {"path": "/p.wasm"}}, "refreshSeconds": 300}), Some(300))]
    fn how_often_a_source_is_looked_at(#[case] spec: Value, #[case] seconds: Option<u64>) {
        let object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        let object: DaskPlugin = serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
        let resource = Resource::of_namespace(object).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(resource.refresh(), seconds.map(Duration::from_secs));
    }
}
