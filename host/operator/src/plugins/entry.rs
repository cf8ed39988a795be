//! An active plugin, and the resources in its scope.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_api::PluginSource;
use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::logic::LogicPlugin;
use dask_operator_evaluator::policy::{Mode, Policy};
use dask_operator_runtime::Component;
use kube::core::{Selector, SelectorExt};

use super::PluginError;

/// Label that holds the name of a namespace. Every namespace has it.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Resource that a decision is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Kind of the resource.
    pub kind: DaskKind,
    /// Namespace of the resource.
    pub namespace: &'a str,
    /// Labels of the resource.
    pub labels: &'a Labels,
}

/// Name of a (Cluster)DaskPlugin, and its namespace: `None` for a plugin of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginId {
    /// `metadata.namespace`
    pub namespace: Option<String>,
    /// `metadata.name`
    pub name: String,
}

impl PluginId {
    /// Returns whether the text is the title of a plugin resource.
    #[must_use]
    pub fn is_title(text: &str) -> bool {
        Self::is_title_of_namespace(text) || text.starts_with("ClusterDaskPlugin ")
    }

    /// Returns whether the text is the title of a plugin of a namespace.
    #[must_use]
    pub fn is_title_of_namespace(text: &str) -> bool {
        text.starts_with("DaskPlugin ")
    }
}

impl std::fmt::Display for PluginId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "DaskPlugin {namespace}/{}", self.name),
            None => write!(f, "ClusterDaskPlugin {}", self.name),
        }
    }
}

/// Resources that a plugin applies to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Only resources in this namespace; all namespaces if `None`.
    pub namespace: Option<String>,
    /// Only resources in namespaces with matching labels.
    pub namespaces: Selector,
    /// True if `namespaces` selects by labels other than the name of the namespace.
    pub by_labels: bool,
    /// Only resources with matching labels.
    pub labels: Selector,
}

/// Loaded component of a plugin resource.
#[derive(Clone)]
pub struct Loaded {
    /// The component.
    pub component: Component,
    /// Source of the component, as the plugin resource names it.
    pub source: PluginSource,
}

/// Catalog entry of a plugin that is active, or that blocks its scope.
#[derive(Clone)]
pub struct Entry {
    /// Identity of the plugin resource.
    pub id: PluginId,
    /// Resources that the plugin applies to.
    pub scope: Scope,
    /// Priority: entries with smaller numbers come first.
    pub order: i32,
    /// Logic of the plugin by the kind that it manages. Logic that was active and can't be used now is an error: resources of
    /// that kind are blocked.
    pub logic: BTreeMap<DaskKind, Result<Arc<LogicPlugin>, PluginError>>,
    /// Policy of the plugin. A policy that was active and can't be used now is an error: resources in its scope are blocked.
    pub policy: Option<Result<Arc<Policy>, PluginError>>,
    /// Component of the plugin; `None` if it can't be used now.
    pub loaded: Option<Loaded>,
}

impl Entry {
    /// Returns whether the plugin can't be used now and blocks its scope.
    pub(super) fn blocks(&self) -> bool {
        self.loaded.is_none() && (self.policy.is_some() || !self.logic.is_empty())
    }

    /// Returns whether the plugin applies to a resource in a namespace with these labels. `None` if the labels are not known.
    ///
    /// # Errors
    ///
    /// Returns an error if that depends on labels of the namespace that are not known.
    pub(super) fn concerns(
        &self,
        subject: &Subject<'_>,
        labels: Option<&Labels>,
    ) -> Result<bool, PluginError> {
        // This check comes first, so that the size of a tenant's selector does not slow down other namespaces.
        let is_elsewhere = |namespace: &String| namespace != subject.namespace;
        if self.scope.namespace.as_ref().is_some_and(is_elsewhere)
            || !self.scope.labels.matches(subject.labels)
        {
            return Ok(false);
        }
        match (&self.scope.namespace, labels) {
            (Some(_), _) => Ok(true),
            (None, Some(labels)) => Ok(self.scope.namespaces.matches(labels)),
            // The namespace was created a moment ago. Skipping this plugin could allow what it forbids.
            (None, None) if self.scope.by_labels => Err(PluginError {
                title: self.id.to_string(),
                reason: "NamespaceUnknown",
                message: format!(
                    "it is for namespaces with certain labels, and those of {} are not known yet; try again in a few \
                     seconds",
                    subject.namespace
                ),
            }),
            // Every namespace has its name as a label, so that it can be selected by name while its other labels are not known.
            (None, None) => {
                let named = Labels::from([(NAMESPACE_NAME.to_owned(), subject.namespace.to_owned())]);
                Ok(self.scope.namespaces.matches(&named))
            }
        }
    }

    /// Returns whether the policy forbids nothing and only reports what it would forbid.
    pub(super) fn only_monitors(&self) -> bool {
        let monitors = |policy: &Result<Arc<Policy>, PluginError>| {
            policy.as_ref().is_ok_and(|policy| policy.mode == Mode::Monitor)
        };
        self.policy.as_ref().is_some_and(monitors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_distinguish_plugin_resources_from_files() {
        for namespace in [Some("a".to_owned()), None] {
            let name = "p".to_owned();
            let is_of_namespace = namespace.is_some();
            let title = PluginId { namespace, name }.to_string();
            assert!(PluginId::is_title(&title), "{title}");
            assert_eq!(
                PluginId::is_title_of_namespace(&title),
                is_of_namespace,
                "{title}"
            );
        }
        assert!(!PluginId::is_title("/plugins/DaskPlugin.wasm"));
    }
}
