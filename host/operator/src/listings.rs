//! Kinds of children that can't be listed, and why.
//!
//! What every plan needs is waited for before anything is decided. Of all other kinds, those of an extension that is not
//! installed or that the operator has no rights to, only what needs them is held.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use dask_operator_core::plan::ResourceKind;

/// Kinds that are not listed, in which namespace (none for all), and why.
#[derive(Debug, Default)]
pub struct Listings(RwLock<HashMap<ResourceKind, HashMap<Option<String>, String>>>);

impl Listings {
    /// What there is of a kind can't be known. Gives whether that is news.
    pub fn hindered(&self, kind: &ResourceKind, namespace: Option<&str>, why: String) -> bool {
        let mut hindered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let places = hindered.entry(kind.clone()).or_default();
        let before = places.insert(namespace.map(str::to_owned), why.clone());
        before != Some(why)
    }

    /// What was said last of a kind in this place (none for all namespaces); none where it is known.
    #[must_use]
    pub fn said(&self, kind: &ResourceKind, namespace: Option<&str>) -> Option<String> {
        let hindered = self.0.read().unwrap_or_else(PoisonError::into_inner);
        hindered.get(kind)?.get(&namespace.map(str::to_owned)).cloned()
    }

    /// What there is of a kind is known. Gives whether that is news.
    pub fn known(&self, kind: &ResourceKind, namespace: Option<&str>) -> bool {
        let mut hindered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(places) = hindered.get_mut(kind) else {
            return false;
        };
        let was_hindered = places.remove(&namespace.map(str::to_owned)).is_some();
        if places.is_empty() {
            hindered.remove(kind);
        }
        was_hindered
    }

    /// Why it can't be known what there is of a kind in a namespace; none where it is known.
    #[must_use]
    pub fn hindrance(&self, kind: &ResourceKind, namespace: &str) -> Option<String> {
        let hindered = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let places = hindered.get(kind)?;
        let here = places.get(&Some(namespace.to_owned()));
        here.or_else(|| places.get(&None)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_hindered_where_it_is_not_listed() {
        let listings = Listings::default();
        let (one, other) = (ResourceKind::new("v1", "Secret"), ResourceKind::new("v1", "Pod"));
        assert!(listings.hindered(&one, Some("a"), "not yet".to_owned()));
        assert!(!listings.hindered(&one, Some("a"), "not yet".to_owned()));
        assert!(listings.hindered(&one, Some("a"), "no right".to_owned()));
        assert_eq!(listings.hindrance(&one, "a").as_deref(), Some("no right"));
        assert_eq!(listings.hindrance(&one, "b"), None);
        assert_eq!(listings.hindrance(&other, "a"), None);
        assert!(listings.known(&one, Some("a")) && !listings.known(&one, Some("a")));
        assert_eq!(listings.hindrance(&one, "a"), None);

        listings.hindered(&one, None, "no right".to_owned());
        assert_eq!(listings.hindrance(&one, "b").as_deref(), Some("no right"));
        assert_eq!(listings.said(&one, None).as_deref(), Some("no right"));
        assert_eq!(listings.said(&one, Some("b")), None, "only of all namespaces");
    }
}
