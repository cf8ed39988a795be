//! Keys of Dask resources and of plugin resources.

use std::fmt;

use dask_operator_core::parent::DaskKind;

/// Key of a Dask resource to reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ParentKey {
    /// Kind of the resource.
    pub(crate) kind: DaskKind,
    /// Namespace of the resource.
    pub(crate) namespace: Box<str>,
    /// Name of the resource.
    pub(crate) name: Box<str>,
}

impl ParentKey {
    /// Returns the key of `kind` `name` in `namespace`.
    #[must_use]
    pub(crate) fn new(kind: DaskKind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ParentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.kind(), self.namespace, self.name)
    }
}

/// Namespace and name of a Dask cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClusterKey {
    /// Namespace of the cluster.
    pub(crate) namespace: Box<str>,
    /// Name of the cluster.
    pub(crate) name: Box<str>,
}

impl ClusterKey {
    /// Creates the key of the cluster `name` in `namespace`.
    #[must_use]
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Name of a (Cluster)DaskPlugin, and its namespace: `None` for a plugin of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PluginId {
    /// `metadata.namespace`
    pub(crate) namespace: Option<String>,
    /// `metadata.name`
    pub(crate) name: String,
}

impl PluginId {
    /// Returns whether the text is the title of a plugin resource.
    #[must_use]
    pub(crate) fn is_title(text: &str) -> bool {
        Self::is_title_of_namespace(text) || text.starts_with("ClusterDaskPlugin ")
    }

    /// Returns whether the text is the title of a plugin of a namespace.
    #[must_use]
    pub(crate) fn is_title_of_namespace(text: &str) -> bool {
        text.starts_with("DaskPlugin ")
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "DaskPlugin {namespace}/{}", self.name),
            None => write!(f, "ClusterDaskPlugin {}", self.name),
        }
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
