//! Kinds of children that can't be listed, and the reasons.
//!
//! Kinds that every plan needs are waited for before any decision. A missing list of another kind, one of an extension
//! that is not installed or one that the operator may not list, blocks only the resources that need it.

use std::collections::HashMap;

use dask_operator_core::plan::ResourceKind;
use parking_lot::RwLock;

/// Kinds that can't be listed: the reason, by kind and namespace (`None` for all).
#[derive(Debug, Default)]
pub(crate) struct Listings(RwLock<HashMap<ResourceKind, HashMap<Option<String>, String>>>);

impl Listings {
    /// Records that the objects of a kind can't be known. Returns whether this is new.
    pub(crate) fn set_unlisted(&self, kind: &ResourceKind, namespace: Option<&str>, why: String) -> bool {
        let mut unlisted = self.0.write();
        let scopes = unlisted.entry(kind.clone()).or_default();
        let before = scopes.insert(namespace.map(str::to_owned), why.clone());
        before != Some(why)
    }

    /// Returns the last recorded reason for a kind in exactly this scope (`None` for all namespaces); `None` if its
    /// objects are known.
    #[must_use]
    pub(crate) fn recorded_reason(&self, kind: &ResourceKind, namespace: Option<&str>) -> Option<String> {
        let unlisted = self.0.read();
        unlisted.get(kind)?.get(&namespace.map(str::to_owned)).cloned()
    }

    /// Records that the objects of a kind are known. Returns whether this is new.
    pub(crate) fn set_listed(&self, kind: &ResourceKind, namespace: Option<&str>) -> bool {
        let mut unlisted = self.0.write();
        let Some(scopes) = unlisted.get_mut(kind) else {
            return false;
        };
        let was_unlisted = scopes.remove(&namespace.map(str::to_owned)).is_some();
        if scopes.is_empty() {
            unlisted.remove(kind);
        }
        was_unlisted
    }

    /// Returns the reason why the objects of a kind in a namespace can't be known; `None` if they are known.
    #[must_use]
    pub(crate) fn reason(&self, kind: &ResourceKind, namespace: &str) -> Option<String> {
        let unlisted = self.0.read();
        let scopes = unlisted.get(kind)?;
        let here = scopes.get(&Some(namespace.to_owned()));
        here.or_else(|| scopes.get(&None)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_blocked_only_where_it_is_not_listed() {
        let listings = Listings::default();
        let (one, other) = (ResourceKind::new("v1", "Secret"), ResourceKind::new("v1", "Pod"));
        assert!(listings.set_unlisted(&one, Some("a"), "not yet".to_owned()));
        assert!(!listings.set_unlisted(&one, Some("a"), "not yet".to_owned()));
        assert!(listings.set_unlisted(&one, Some("a"), "no right".to_owned()));
        assert_eq!(listings.reason(&one, "a").as_deref(), Some("no right"));
        assert_eq!(listings.reason(&one, "b"), None);
        assert_eq!(listings.reason(&other, "a"), None);
        assert!(listings.set_listed(&one, Some("a")) && !listings.set_listed(&one, Some("a")));
        assert_eq!(listings.reason(&one, "a"), None);

        listings.set_unlisted(&one, None, "no right".to_owned());
        assert_eq!(listings.reason(&one, "b").as_deref(), Some("no right"));
        assert_eq!(listings.recorded_reason(&one, None).as_deref(), Some("no right"));
        assert_eq!(
            listings.recorded_reason(&one, Some("b")),
            None,
            "only of all namespaces"
        );
    }
}
