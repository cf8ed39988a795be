//! The API server's responses to server-side applies. Pure. They are lost when the process exits.

use std::sync::Arc;

use dask_operator_core::apply_cache::{AppliedResponse, AppliedResponses};
use parking_lot::Mutex;

/// Responses to earlier applies, by uid of the object. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct ResponseCache(Arc<Mutex<AppliedResponses>>);

impl ResponseCache {
    /// Returns the responses for these objects.
    pub(crate) fn of<'a>(&self, uids: impl IntoIterator<Item = &'a str>) -> AppliedResponses {
        self.0.lock().of(uids)
    }

    /// Stores the response for an object, in place of the previous one. `None` only removes the previous one.
    pub(crate) fn insert(&self, uid: &str, response: Option<AppliedResponse>) {
        self.0.lock().keep(uid, response);
    }

    /// Removes the response for an object that is gone.
    pub(crate) fn remove(&self, uid: &str) {
        self.0.lock().forget(uid);
    }
}
