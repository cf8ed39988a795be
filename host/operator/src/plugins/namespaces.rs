//! The labels of namespaces, by which plugins of the cluster choose.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::Selector;

use super::failure::{LoadFailure, NAMESPACES_UNKNOWN};
use super::known::Known;
use super::{Entry, Labels, Scope};

/// The labels of namespaces, as far as somebody has asked for them.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// None where nobody has asked.
    labels: Option<BTreeMap<String, Labels>>,
    listed: bool,
    forbidden: Option<String>,
}

impl Namespaces {
    /// Somebody asks for them. Gives whether that is the first time.
    pub(super) fn ask(&mut self) -> bool {
        let first = self.labels.is_none();
        self.labels.get_or_insert_default();
        first
    }

    /// Whether they are asked for, and not here yet.
    pub(super) fn are_awaited(&self) -> bool {
        self.labels.is_some() && !self.listed && self.forbidden.is_none()
    }

    /// A namespace has these labels. Gives whether that is another choice than before.
    pub(super) fn seen(&mut self, name: &str, labels: Labels) -> bool {
        let before = self
            .labels
            .get_or_insert_default()
            .insert(name.to_owned(), labels.clone());
        self.listed && before.as_ref() != Some(&labels)
    }

    /// A namespace is gone. Gives whether its labels were known: one of the same name that is made anew has others.
    pub(super) fn gone(&mut self, name: &str) -> bool {
        let labels = self.labels.as_mut();
        labels.and_then(|labels| labels.remove(name)).is_some()
    }

    /// Those whose labels are known and that are not among all that there are: they have gone while nobody watched.
    pub(super) fn missing(&self, all: &BTreeSet<String>) -> Vec<String> {
        let known = self.labels.iter().flat_map(BTreeMap::keys);
        known.filter(|name| !all.contains(*name)).cloned().collect()
    }

    /// All are here. Gives whether that is news.
    pub(super) fn are_listed(&mut self) -> bool {
        self.forbidden = None;
        !std::mem::replace(&mut self.listed, true)
    }

    /// They can't be had. Gives whether that is news; it is none where they were had before.
    pub(super) fn are_forbidden(&mut self, why: String) -> bool {
        let news = !self.listed && self.forbidden.is_none();
        if !self.listed {
            self.forbidden = Some(why);
        }
        news
    }

    /// The labels, by namespace.
    pub(super) fn labels(&self) -> BTreeMap<String, Labels> {
        self.labels.clone().unwrap_or_default()
    }

    /// Why a plugin can't be put in force: nobody can say which namespaces it is for.
    pub(super) fn hinder(&self, known: &Known) -> Option<LoadFailure> {
        let why = self
            .forbidden
            .as_ref()
            .filter(|_| known.resource.scope.by_labels)?;
        Some(LoadFailure::new(
            NAMESPACES_UNKNOWN,
            format!("spec.namespaceSelector: {why}"),
        ))
    }

    /// What the catalog gets of a plugin. Where nobody can say which namespaces one is for that was in force
    /// before this process began, it holds them all: it may be for any.
    pub(super) fn entry(&self, known: &Known) -> Option<Entry> {
        if self.listed || !known.resource.scope.by_labels {
            return known.entry();
        }
        let why = self
            .forbidden
            .as_deref()
            .unwrap_or("the labels of namespaces are not known yet");
        let everywhere = Scope {
            namespaces: Selector::default(),
            by_labels: false,
            ..known.resource.scope.clone()
        };
        known.held(why, everywhere)
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::ClusterDaskPlugin;
    use dask_operator_core::parent::DaskKind;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::resource::Resource;
    use super::super::{Catalog, Subject};
    use super::*;

    /// A plugin that was in force before this process began.
    fn was_in_force(selector: &Value) -> Known {
        let object = json!({
            "apiVersion": "kubernetes.dask.org/v1", "kind": "ClusterDaskPlugin",
            "metadata": {"name": "p", "uid": "u", "generation": 1},
            "spec": {"source": {"file": {"path": "/p.wasm"}}, "namespaceSelector": selector},
            "status": {"digest": "sha256:1", "interfaces": ["policy"]},
        });
        let object: ClusterDaskPlugin =
            serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
        Known::new(Resource::of_cluster(object))
    }

    /// Whether the resources of each of these namespaces are held.
    fn held(namespaces: &Namespaces, known: &Known) -> [bool; 2] {
        let entries = namespaces.entry(known).into_iter().collect();
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
    fn what_may_be_for_any_namespace_is_for_all(
        #[case] selector: Value,
        #[case] expected: [bool; 2],
        #[case] hinders: bool,
    ) {
        let known = was_in_force(&selector);
        let mut namespaces = Namespaces::default();
        assert!(namespaces.ask() && !namespaces.ask() && namespaces.are_awaited());
        assert_eq!(held(&namespaces, &known), expected, "before they are listed");
        assert!(namespaces.hinder(&known).is_none(), "nobody knows yet");
        assert!(namespaces.are_forbidden("no right".into()) && !namespaces.are_awaited());
        assert!(!namespaces.are_forbidden("no right".into()), "that is known");
        assert_eq!(held(&namespaces, &known), expected, "as long as that is so");
        let hindrance = namespaces.hinder(&known).map(|failure| failure.message);
        assert_eq!(
            hindrance,
            hinders.then(|| "spec.namespaceSelector: no right".to_owned())
        );
    }

    #[test]
    fn labels_that_are_listed_decide() {
        let known = was_in_force(&json!({"matchLabels": {"tier": "production"}}));
        let mut namespaces = Namespaces::default();
        let production = || Labels::from([("tier".to_owned(), "production".to_owned())]);
        namespaces.are_forbidden("no right".into());
        assert!(!namespaces.seen("a", production()), "they are not listed yet");
        namespaces.seen("b", Labels::new());
        assert!(namespaces.are_listed() && !namespaces.are_listed());
        assert_eq!(held(&namespaces, &known), [true, false]);
        assert!(namespaces.hinder(&known).is_none());
        // A right that is taken away later changes nothing about what is known.
        assert!(!namespaces.are_forbidden("no right".into()));
        assert!(namespaces.seen("b", production()) && !namespaces.seen("b", production()));
        assert_eq!(held(&namespaces, &known), [true, true]);
        // One of the same name that is made anew may have any labels.
        assert!(namespaces.seen("b", Labels::new()));
        assert_eq!(held(&namespaces, &known), [true, false]);
        assert_eq!(namespaces.missing(&BTreeSet::from(["a".to_owned()])), ["b"]);
        assert!(namespaces.gone("b") && !namespaces.gone("b"));
        assert_eq!(held(&namespaces, &known), [true, true]);
    }
}
