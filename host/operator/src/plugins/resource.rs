//! Common form of DaskPlugin and ClusterDaskPlugin resources.

mod lean;

use std::fmt::Debug;
use std::time::Duration;

use dask_operator_api::{
    ClusterDaskPlugin, ClusterDaskPluginSpec, DaskPlugin, DaskPluginSpec, PluginSettings, PluginStatus,
};
use dask_operator_core::json::tree_bytes;
use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::plan::ResourceKind;
use dask_operator_runtime::Interface;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use kube::core::{NamespaceResourceScope, Selector};
use kube::{Resource as _, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::client::resource::ResourceType;
use crate::key::PluginId;

use crate::plugins::entry::{NAMESPACE_NAME, Scope};
use crate::plugins::error::{LoadFailure, LoadReason};
pub(super) use lean::Lean;

/// Interval in which a file is read again.
const FILE_REFRESH: Duration = Duration::from_secs(10);

/// Interval in which a ConfigMap is read again. It is longer, because each read is a request to the API server.
const CONFIG_MAP_REFRESH: Duration = Duration::from_secs(30);

/// Longest settings as text, in bytes. They are stored for each resource, loaded or not.
const SETTINGS: usize = 256 << 10;

/// Largest settings in memory after a component has parsed them, in bytes.
const SETTINGS_TREE: usize = 16 << 20;

/// A plugin resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resource {
    /// Identity of the resource.
    pub(super) id: PluginId,
    /// `metadata.uid`
    pub(super) uid: String,
    /// `metadata.generation`
    pub(super) generation: i64,
    /// `metadata.creationTimestamp`
    pub(super) created: Option<Time>,
    /// Desired state, without settings if they are too large.
    pub(super) spec: DaskPluginSpec,
    /// Resources that the plugin applies to. An invalid selector selects everything.
    pub(super) scope: Scope,
    /// Reason why the resource can't be used: an invalid selector, or settings that are too large.
    pub(super) problem: Option<LoadFailure>,
    /// Status as last seen or written.
    pub(super) status: PluginStatus,
}

impl Resource {
    /// Converts a plugin of a namespace.
    pub(super) fn of_namespace(object: DaskPlugin) -> Self {
        let namespace = object.namespace();
        let (labels, problem) = selector("spec.selector", object.spec.selector.as_ref());
        let scope = Scope {
            namespace: namespace.clone(),
            labels,
            ..Scope::default()
        };
        let resource = Self::new(namespace, object.metadata, object.spec, scope, object.status);
        Self {
            problem: problem.or(resource.problem),
            ..resource
        }
    }

    /// Converts a plugin of the cluster.
    pub(super) fn of_cluster(object: ClusterDaskPlugin) -> Self {
        let of_namespaces = object.spec.namespace_selector.as_ref();
        let (namespaces, namespaces_problem) = selector("spec.namespaceSelector", of_namespaces);
        let (labels, problem) = selector("spec.selector", object.spec.selector.as_ref());
        let scope = Scope {
            namespace: None,
            namespaces,
            by_labels: of_namespaces.is_some_and(by_labels),
            labels,
        };
        let resource = Self::new(None, object.metadata, object.spec.into(), scope, object.status);
        Self {
            problem: namespaces_problem.or(problem).or(resource.problem),
            ..resource
        }
    }

    fn new(
        namespace: Option<String>,
        metadata: ObjectMeta,
        mut spec: DaskPluginSpec,
        scope: Scope,
        status: Option<PluginStatus>,
    ) -> Self {
        let mut status = status.unwrap_or_default();
        let problem = spec.settings.as_ref().and_then(too_large);
        if problem.is_some() {
            spec.settings = None;
        }
        // Without its settings, the version would behave differently.
        status
            .last_good
            .take_if(|last| last.settings.as_ref().and_then(too_large).is_some());
        Self {
            id: PluginId {
                namespace,
                name: metadata.name.unwrap_or_default(),
            },
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp,
            spec,
            scope,
            problem,
            status,
        }
    }

    /// Returns an error if a selector is invalid or the settings are too large.
    pub(super) fn check(&self) -> Result<(), LoadFailure> {
        self.problem.clone().map_or(Ok(()), Err)
    }

    /// Returns the settings, a JSON object.
    pub(super) fn settings(&self) -> String {
        let settings = self.spec.settings.as_ref();
        settings.map_or("{}", PluginSettings::text).to_owned()
    }

    /// Returns the interfaces that the resource requests, out of those that the component with this title has (`has`).
    pub(super) fn requested_interfaces(
        &self,
        title: &str,
        has: &[Interface],
    ) -> Result<Vec<Interface>, LoadFailure> {
        let Some(wanted) = &self.spec.interfaces else {
            return Ok(has.to_vec());
        };
        let find = |name: &str| {
            let missing = || {
                let names: Vec<_> = has.iter().map(|interface| interface.name()).collect();
                let text = format!(
                    "spec.interfaces: {title} has no {name}; it has {}",
                    names.join(", ")
                );
                LoadFailure::new(LoadReason::InterfaceMissing, text)
            };
            let found = Interface::from_name(name).filter(|interface| has.contains(interface));
            found.ok_or_else(missing)
        };
        wanted.iter().map(|interface| find(interface.name())).collect()
    }

    /// Returns the interval in which the source is read again; `None` if it is not. Volumes that hold a ConfigMap change with
    /// it, while this resource does not change.
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

    /// Returns the namespace of an object that the spec names: the plugin's own, or else the named one.
    pub(super) fn namespace_of<'a>(&'a self, named: Option<&'a String>) -> &'a str {
        self.id.namespace.as_ref().or(named).map_or("", String::as_str)
    }

    /// Returns the API resource of the plugin's kind.
    pub(super) fn kind(&self) -> ResourceType {
        let (kind, plural) = match self.id.namespace {
            Some(_) => (DaskPlugin::kind(&()), DaskPlugin::plural(&())),
            None => (ClusterDaskPlugin::kind(&()), ClusterDaskPlugin::plural(&())),
        };
        ResourceType {
            resource: ResourceKind::new(DASK_API_VERSION, kind),
            plural: plural.into_owned(),
        }
    }

    /// Returns the reference for events.
    pub(super) fn reference(&self) -> ObjectReference {
        let ResourceKind { api_version, kind } = self.kind().resource;
        ObjectReference {
            api_version: Some(api_version),
            kind: Some(kind),
            name: Some(self.id.name.clone()),
            namespace: self.id.namespace.clone(),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

/// Converts a selector. An invalid one is replaced by one that selects everything, so that a version that was active blocks all
/// resources that it may apply to; the failure is returned too.
fn selector(field: &str, selector: Option<&LabelSelector>) -> (Selector, Option<LoadFailure>) {
    match selector.cloned().map(Selector::try_from).transpose() {
        Ok(selector) => (selector.unwrap_or_default(), None),
        Err(error) => {
            let problem = format!(
                "{field} makes no sense ({error}): an expression has one of the operators In and NotIn with values, \
                 Exists and DoesNotExist without"
            );
            (
                Selector::default(),
                Some(LoadFailure::new(LoadReason::InvalidSelector, problem)),
            )
        }
    }
}

/// Returns why settings are too large; `None` if they are not.
fn too_large(settings: &PluginSettings) -> Option<LoadFailure> {
    let text = settings.text();
    let problem = if text.len() > SETTINGS {
        format!("they have {} bytes, and may have {SETTINGS}", text.len())
    } else if tree_bytes(text) > SETTINGS_TREE {
        format!("once they are read, they take more than {SETTINGS_TREE} bytes of memory")
    } else {
        return None;
    };
    let message = format!("spec.settings: {problem}: have the component bring along what is always the same");
    Some(LoadFailure::new(LoadReason::SettingsTooLarge, message))
}

/// Returns whether a selector of namespaces uses other labels than the name of the namespace.
fn by_labels(selector: &LabelSelector) -> bool {
    let labels = selector.match_labels.iter().flatten().map(|(key, _)| key);
    let expressions = selector.match_expressions.iter().flatten();
    labels
        .chain(expressions.map(|expression| &expression.key))
        .any(|key| key != NAMESPACE_NAME)
}

/// Kind of plugin resources, for watches.
pub(super) trait PluginKind:
    kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// Type of `spec`.
    type Spec: DeserializeOwned;

    /// Creates the resource from its parts.
    fn of(metadata: ObjectMeta, spec: Self::Spec, status: Option<PluginStatus>) -> Self;

    /// Converts the resource to the common form.
    fn read(self) -> Resource;
}

impl PluginKind for DaskPlugin
where
    Self: kube::Resource<Scope = NamespaceResourceScope>,
{
    type Spec = DaskPluginSpec;

    fn of(metadata: ObjectMeta, spec: Self::Spec, status: Option<PluginStatus>) -> Self {
        Self {
            metadata,
            spec,
            status,
        }
    }

    fn read(self) -> Resource {
        Resource::of_namespace(self)
    }
}

impl PluginKind for ClusterDaskPlugin {
    type Spec = ClusterDaskPluginSpec;

    fn of(metadata: ObjectMeta, spec: Self::Spec, status: Option<PluginStatus>) -> Self {
        Self {
            metadata,
            spec,
            status,
        }
    }

    fn read(self) -> Resource {
        Resource::of_cluster(self)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::testing;

    #[rstest]
    #[case::file(json!({"source": {"file": {"path": "/p.wasm"}}}), Some(10))]
    #[case::config_map(json!({"source": {"configMap": {"name": "p", "key": "p.wasm"}}}), Some(30))]
    #[case::image(json!({"source": {"oci": {"image": "ghcr.io/acme/p:1"}}}), None)]
    #[case::these_bytes(json!({"source": {"file": {"path": "/p.wasm"}}, "digest": "sha256:1"}), None)]
    #[case::explicit(json!({"source": {"file": {"path": "/p.wasm"}}, "refreshSeconds": 300}), Some(300))]
    fn refreshes_sources_that_can_change(#[case] spec: Value, #[case] seconds: Option<u64>) {
        let object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        assert_eq!(
            testing::of_namespace(object).refresh(),
            seconds.map(Duration::from_secs)
        );
    }

    /// Settings are stored as text, and their size is limited.
    #[rstest]
    #[case::none(String::new(), Ok("{}"))]
    #[case::as_written(r#", "settings": {"b": 1.50, "a": {}}"#.to_owned(), Ok(r#"{"b": 1.50, "a": {}}"#))]
    #[case::long(format!(r#", "settings": {{"a": "{}"}}"#, "a".repeat(SETTINGS)), Err("they have 262153 bytes"))]
    #[case::heavy(format!(r#", "settings": {{"a": [{}0]}}"#, r#"{"":0},"#.repeat(30_000)), Err("once they are read"))]
    fn refuses_large_settings_before_parsing_them(
        #[case] field: String,
        #[case] expected: Result<&str, &str>,
    ) -> serde_json::Result<()> {
        let settings = field.strip_prefix(", ").unwrap_or_default();
        let object = format!(
            r#"{{"metadata": {{"name": "p", "namespace": "n"}}, "spec": {{"source": {{}}{field}}},
                "status": {{"digest": "d", "lastGood": {{"generation": 1, "digest": "d", {settings}}}}}}}"#
        )
        .replace(r#""digest": "d", }"#, r#""digest": "d"}"#);
        let resource = serde_json::from_str::<Lean<DaskPlugin>>(&object)?.read();
        match (resource.check(), expected) {
            (Ok(()), Ok(text)) => {
                assert_eq!(resource.settings(), text);
                assert!(resource.status.last_good.is_some());
            }
            (Err(failure), Err(problem)) => {
                assert_eq!(failure.reason, LoadReason::SettingsTooLarge);
                assert!(failure.message.contains(problem), "{failure}");
                assert_eq!((resource.spec.settings, resource.status.last_good), (None, None));
            }
            (checked, _) => panic!("{checked:?}"),
        }
        Ok(())
    }

    #[rstest]
    #[case::fine(json!({"matchLabels": {"a": "b"}}), None)]
    #[case::operator(json!({"matchExpressions": [{"key": "a", "operator": "Is"}]}), Some("spec.namespaceSelector makes no sense"))]
    fn reports_invalid_selectors(#[case] selector: Value, #[case] expected: Option<&str>) {
        let object = json!({"metadata": {"name": "p"}, "spec": {
            "source": {"file": {"path": "/p.wasm"}}, "namespaceSelector": selector}});
        let resource = testing::of_cluster(object);
        let said = resource.check().err();
        assert_eq!(
            said.as_ref().map(|failure| failure.reason),
            expected.map(|_| LoadReason::InvalidSelector)
        );
        let starts = |text: &str| {
            said.as_ref()
                .is_some_and(|failure| failure.message.starts_with(text))
        };
        assert!(expected.is_none_or(starts), "{said:?}");
        assert_eq!(resource.scope.namespaces.selects_all(), expected.is_some());
    }
}
