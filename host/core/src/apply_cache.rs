//! Cache of the API server's responses to applies.
//!
//! It keeps the operator from an endless conflict with an API server or a webhook that rewrites objects: the response to the
//! last apply counts as in sync.

use std::collections::HashMap;

use serde_json::Value;

use crate::diff::{fingerprint, in_sync};
use crate::stamp::hash;

/// The API server's responses to applies that differ from the desired object, by uid of the object.
#[derive(Clone, Debug, Default)]
pub struct AppliedResponses {
    by_uid: HashMap<String, AppliedResponse>,
}

/// The API server's response to an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedResponse {
    /// Hash of the desired object.
    desired: String,
    /// Fingerprint of the object in the response.
    fingerprint: String,
}

impl AppliedResponse {
    /// Returns the record of the response to an apply of `desired`. Returns `None` if the response is in sync with `desired`,
    /// because then no record is needed.
    #[must_use]
    pub fn of(desired: &Value, response: &Value) -> Option<Self> {
        (!in_sync(desired, response)).then(|| Self {
            desired: hash(desired),
            fingerprint: fingerprint(response),
        })
    }
}

impl AppliedResponses {
    /// Returns a copy that contains only the responses for these objects.
    #[must_use]
    pub fn of<'a>(&self, uids: impl IntoIterator<Item = &'a str>) -> Self {
        let known = |uid: &'a str| {
            let response = self.by_uid.get(uid)?;
            Some((String::from(uid), response.clone()))
        };
        Self {
            by_uid: uids.into_iter().filter_map(known).collect(),
        }
    }

    /// Returns whether applying `desired` to `observed` would change nothing: because they are [`in_sync`], or because
    /// `observed` equals the API server's response to an earlier apply of the same object.
    #[must_use]
    pub fn in_sync(&self, uid: &str, desired: &Value, observed: &Value) -> bool {
        in_sync(desired, observed)
            || self.by_uid.get(uid).is_some_and(|response| {
                response.desired == hash(desired) && response.fingerprint == fingerprint(observed)
            })
    }

    /// Stores the response for an object, in place of the previous one. `None` only removes the previous one.
    pub fn keep(&mut self, uid: &str, response: Option<AppliedResponse>) {
        match response {
            None => self.by_uid.remove(uid),
            Some(response) => self.by_uid.insert(uid.to_owned(), response),
        };
    }

    /// Removes the response for an object that no longer exists.
    pub fn forget(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::ANNOTATION_HASH;

    #[test]
    fn the_response_to_the_last_apply_is_in_sync() {
        let desired = json!({"metadata": {"annotations": {ANNOTATION_HASH: "h"}}, "spec": {"image": "a"}});
        let rewritten =
            json!({"metadata": {"annotations": {ANNOTATION_HASH: "h"}}, "spec": {"image": "mirror/a"}});
        let mut responses = AppliedResponses::default();
        assert!(!responses.in_sync("u", &desired, &rewritten));
        responses.keep("u", AppliedResponse::of(&desired, &rewritten));
        assert!(responses.in_sync("u", &desired, &rewritten));
        assert!(responses.of(["u"]).in_sync("u", &desired, &rewritten));
        assert!(!responses.of(["v"]).in_sync("u", &desired, &rewritten));

        let mut edited = rewritten.clone();
        edited["spec"]["image"] = json!("b");
        assert!(
            !responses.in_sync("u", &desired, &edited),
            "an edit by another client is reverted"
        );
        let mut other = desired.clone();
        other["spec"]["image"] = json!("c");
        assert!(
            !responses.in_sync("u", &other, &rewritten),
            "another desired object is applied"
        );

        responses.forget("u");
        assert!(!responses.in_sync("u", &desired, &rewritten));
    }
}
