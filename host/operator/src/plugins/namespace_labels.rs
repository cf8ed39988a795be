//! Labels of namespaces, by which plugins of the cluster select.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::Selector;

use crate::plugins::entry::{Entry, Scope};
use crate::plugins::error::{LoadFailure, LoadReason};
use crate::plugins::state::PluginState;
use crate::selection::Labels;

/// Labels of namespaces, once they are requested.
#[derive(Debug, Default)]
pub(super) struct NamespaceLabels {
    /// Labels by namespace; `None` if they were never requested.
    labels: Option<BTreeMap<String, Labels>>,
    listed: bool,
    forbidden: Option<String>,
}

impl NamespaceLabels {
    /// Requests the labels. Returns whether that is the first request.
    pub(super) fn request(&mut self) -> bool {
        let first = self.labels.is_none();
        self.labels.get_or_insert_default();
        first
    }

    /// Returns whether the labels are requested and not available yet.
    pub(super) fn is_pending(&self) -> bool {
        self.labels.is_some() && !self.listed && self.forbidden.is_none()
    }

    /// Records the labels of a namespace. Returns whether the selection of plugins may have changed.
    pub(super) fn set(&mut self, name: &str, labels: Labels) -> bool {
        let before = self
            .labels
            .get_or_insert_default()
            .insert(name.to_owned(), labels.clone());
        self.listed && before.as_ref() != Some(&labels)
    }

    /// Removes a namespace. Returns whether its labels were known: a new namespace of the same name has other labels.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let labels = self.labels.as_mut();
        labels.and_then(|labels| labels.remove(name)).is_some()
    }

    /// Returns the known namespaces that are not among all existing ones: they were deleted while there was no watch.
    pub(super) fn missing(&self, all: &BTreeSet<String>) -> Vec<String> {
        let known = self.labels.iter().flat_map(BTreeMap::keys);
        known.filter(|name| !all.contains(*name)).cloned().collect()
    }

    /// Marks all namespaces as listed. Returns whether that is new.
    pub(super) fn mark_listed(&mut self) -> bool {
        self.forbidden = None;
        !std::mem::replace(&mut self.listed, true)
    }

    /// Records that namespaces can't be listed. Returns whether that is new; it is not if they were listed before.
    pub(super) fn mark_forbidden(&mut self, why: String) -> bool {
        let news = !self.listed && self.forbidden.is_none();
        if !self.listed {
            self.forbidden = Some(why);
        }
        news
    }

    /// Returns the labels by namespace.
    pub(super) fn labels(&self) -> BTreeMap<String, Labels> {
        self.labels.clone().unwrap_or_default()
    }

    /// Returns why a plugin can't be activated: it selects by labels of namespaces that can't be listed.
    pub(super) fn failure_of(&self, state: &PluginState) -> Option<LoadFailure> {
        let why = self
            .forbidden
            .as_ref()
            .filter(|_| state.resource.scope.by_labels)?;
        Some(LoadFailure::new(
            LoadReason::NamespacesUnknown,
            format!("spec.namespaceSelector: {why}"),
        ))
    }

    /// Returns the catalog entry of a plugin. A plugin that was active before this process started, and whose namespaces can't be
    /// determined, blocks all namespaces, because it may apply to any of them.
    pub(super) fn entry(&self, state: &PluginState) -> Option<Entry> {
        if self.listed || !state.resource.scope.by_labels {
            return state.entry();
        }
        let why = self
            .forbidden
            .as_deref()
            .unwrap_or("the labels of namespaces are not known yet");
        let everywhere = Scope {
            namespaces: Selector::default(),
            by_labels: false,
            ..state.resource.scope.clone()
        };
        state.blocking_entry(why, everywhere)
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_core::parent::DaskKind;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::plugins::catalog::Catalog;
    use crate::plugins::entry::Subject;
    use crate::plugins::testing;

    /// A plugin that was active before this process started.
    fn was_active(selector: &Value) -> PluginState {
        let object = json!({
            "apiVersion": "kubernetes.dask.org/v1", "kind": "ClusterDaskPlugin",
            "metadata": {"name": "p", "uid": "u", "generation": 1},
            "spec": {"source": {"file": {"path": "/p.wasm"}}, "namespaceSelector": selector},
            "status": {"digest": "sha256:1", "interfaces": ["policy"]},
        });
        PluginState::new(testing::of_cluster(object))
    }

    /// Returns whether the resources of each of these namespaces are blocked.
    fn blocked(namespaces: &NamespaceLabels, state: &PluginState) -> [bool; 2] {
        let entries = namespaces.entry(state).into_iter().collect();
        let catalog = Catalog::default().with(entries, namespaces.labels());
        let labels = Labels::new();
        ["a", "b"].map(|namespace| {
            let subject = Subject {
                kind: DaskKind::Cluster,
                namespace,
                labels: &labels,
            };
            catalog.policies(&subject).is_err()
        })
    }

    #[rstest]
    #[case::by_label(json!({"matchLabels": {"tier": "production"}}), [true, true], true)]
    #[case::by_name(json!({"matchLabels": {"kubernetes.io/metadata.name": "a"}}), [true, false], false)]
    #[case::everywhere(json!({}), [true, true], false)]
    fn a_plugin_with_unknown_namespaces_blocks_all(
        #[case] selector: Value,
        #[case] expected: [bool; 2],
        #[case] hinders: bool,
    ) {
        let state = was_active(&selector);
        let mut namespaces = NamespaceLabels::default();
        assert!(namespaces.request() && !namespaces.request() && namespaces.is_pending());
        assert_eq!(blocked(&namespaces, &state), expected, "before they are listed");
        assert!(
            namespaces.failure_of(&state).is_none(),
            "the list may still succeed"
        );
        assert!(namespaces.mark_forbidden("no right".into()) && !namespaces.is_pending());
        assert!(
            !namespaces.mark_forbidden("no right".into()),
            "it is recorded already"
        );
        assert_eq!(
            blocked(&namespaces, &state),
            expected,
            "while they can't be listed"
        );
        let message = namespaces.failure_of(&state).map(|failure| failure.message);
        assert_eq!(
            message,
            hinders.then(|| "spec.namespaceSelector: no right".to_owned())
        );
    }

    #[test]
    fn selects_by_listed_labels() {
        let state = was_active(&json!({"matchLabels": {"tier": "production"}}));
        let mut namespaces = NamespaceLabels::default();
        let production = || Labels::from([("tier".to_owned(), "production".to_owned())]);
        namespaces.mark_forbidden("no right".into());
        assert!(!namespaces.set("a", production()), "they are not listed yet");
        namespaces.set("b", Labels::new());
        assert!(namespaces.mark_listed() && !namespaces.mark_listed());
        assert_eq!(blocked(&namespaces, &state), [true, false]);
        assert!(namespaces.failure_of(&state).is_none());
        // A permission that is revoked later does not change what is known.
        assert!(!namespaces.mark_forbidden("no right".into()));
        assert!(namespaces.set("b", production()) && !namespaces.set("b", production()));
        assert_eq!(blocked(&namespaces, &state), [true, true]);
        // A new namespace of the same name may have any labels.
        assert!(namespaces.set("b", Labels::new()));
        assert_eq!(blocked(&namespaces, &state), [true, false]);
        assert_eq!(namespaces.missing(&BTreeSet::from(["a".to_owned()])), ["b"]);
        assert!(namespaces.remove("b") && !namespaces.remove("b"));
        assert_eq!(blocked(&namespaces, &state), [true, true]);
    }
}
