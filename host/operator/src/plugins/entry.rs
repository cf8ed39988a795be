//! A plugin that is in force, and the resources that it is for.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_api::PluginSource;
use dask_operator_core::parent::DaskKind;
use dask_operator_render::policy::{Mode, Policy};
use dask_operator_runtime::Component;
use kube::core::{Selector, SelectorExt};

use super::{Plugin, PluginError};

/// The label that every namespace has: its name.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What a decision is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The kind of resource.
    pub kind: DaskKind,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
}

/// A (Cluster)DaskPlugin: the namespace it is in (none for one of the cluster), and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginId {
    /// `metadata.namespace`
    pub namespace: Option<String>,
    /// `metadata.name`
    pub name: String,
}

impl PluginId {
    /// Whether that is what a plugin is called.
    #[must_use]
    pub fn is_title(text: &str) -> bool {
        Self::is_title_of_namespace(text) || text.starts_with("ClusterDaskPlugin ")
    }

    /// Whether that is what a plugin of a namespace is called.
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

/// The resources that a plugin is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Only those in this namespace.
    pub namespace: Option<String>,
    /// Only those in namespaces with such labels.
    pub namespaces: Selector,
    /// Whether it takes more than the names of namespaces to say which those are.
    pub by_labels: bool,
    /// Only those with such labels.
    pub labels: Selector,
}

/// A component that is loaded, whoever it decides for.
#[derive(Clone)]
pub struct Loaded {
    /// Itself.
    pub component: Component,
    /// Where a plugin resource says that it comes from.
    pub source: PluginSource,
}

/// A plugin that is in force.
#[derive(Clone)]
pub struct Entry {
    /// Which one.
    pub id: PluginId,
    /// What it is for.
    pub scope: Scope,
    /// Its place: smaller ones come first.
    pub order: i32,
    /// The logic that it has, by the kind that it looks after. One that was in force and
    /// can't be used now is an error: what it looks after is held.
    pub logic: BTreeMap<DaskKind, Result<Arc<Plugin>, PluginError>>,
    /// The policy that it is, likewise.
    pub policy: Option<Result<Arc<Policy>, PluginError>>,
    /// Its component; none where it can't be used now.
    pub loaded: Option<Loaded>,
}

impl Entry {
    /// Whether it can't be used now, and holds what it is for.
    pub(super) fn holds(&self) -> bool {
        self.loaded.is_none() && (self.policy.is_some() || !self.logic.is_empty())
    }

    /// Whether a resource is one that it is for, in a namespace with these labels, where they are known.
    pub(super) fn concerns(
        &self,
        subject: &Subject<'_>,
        labels: Option<&Labels>,
    ) -> Result<bool, PluginError> {
        // First, so that it costs nobody else how much a tenant's plugin has to select.
        let is_elsewhere = |namespace: &String| namespace != subject.namespace;
        if self.scope.namespace.as_ref().is_some_and(is_elsewhere)
            || !self.scope.labels.matches(subject.labels)
        {
            return Ok(false);
        }
        match (&self.scope.namespace, labels) {
            (Some(_), _) => Ok(true),
            (None, Some(labels)) => Ok(self.scope.namespaces.matches(labels)),
            // A namespace that was made a moment ago: to leave this one out would let through what it forbids.
            (None, None) if self.scope.by_labels => Err(PluginError {
                title: self.id.to_string(),
                reason: "NamespaceUnknown",
                message: format!(
                    "it is for namespaces with certain labels, and those of {} are not known yet; try again in a few \
                     seconds",
                    subject.namespace
                ),
            }),
            // Every namespace has its name as a label, so that one can be chosen by it even where the others aren't known.
            (None, None) => {
                let named = Labels::from([(NAMESPACE_NAME.to_owned(), subject.namespace.to_owned())]);
                Ok(self.scope.namespaces.matches(&named))
            }
        }
    }

    /// Whether it forbids nothing, and only tells what it would forbid.
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
    fn plugins_are_told_from_files_by_their_titles() {
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
