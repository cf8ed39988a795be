//! Scopes in which plugin resources are watched.

use crate::key::PluginId;

/// Scope of a watch of plugin resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WatchScope {
    /// Plugins of the cluster.
    Cluster,
    /// Plugins of all namespaces.
    AllNamespaces,
    /// Plugins of one namespace.
    Namespace(String),
}

impl WatchScope {
    /// Returns the scopes of an operator for these namespaces; if there are none, of one for all namespaces.
    pub(super) fn of(namespaces: &[String]) -> Vec<Self> {
        match namespaces {
            [] => vec![Self::Cluster, Self::AllNamespaces],
            some => some.iter().cloned().map(Self::Namespace).collect(),
        }
    }

    /// Returns the plural of the watched kind, and the namespace; `None` for all.
    pub(super) fn watched(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Cluster => ("clusterdaskplugins", None),
            Self::AllNamespaces => ("daskplugins", None),
            Self::Namespace(namespace) => ("daskplugins", Some(namespace)),
        }
    }

    /// Returns the name for messages.
    pub(super) fn title(&self) -> String {
        match self.watched() {
            (plural, Some(namespace)) => format!("{plural} in {namespace}"),
            (plural, None) => plural.to_owned(),
        }
    }

    /// Returns whether a plugin is in the scope.
    pub(super) fn has(&self, id: &PluginId) -> bool {
        match self {
            Self::Cluster => id.namespace.is_none(),
            Self::AllNamespaces => id.namespace.is_some(),
            Self::Namespace(namespace) => id.namespace.as_ref() == Some(namespace),
        }
    }
}
