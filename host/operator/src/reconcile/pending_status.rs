//! Statuses that could not be written although the steps that they describe were executed. Pure.
//!
//! A plan reads in the status when workers were last scaled or stopped. Without the status, it would plan the next step
//! too soon.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use crate::client::object::Object;

/// Statuses that are still to be written, by uid. They are lost when the process exits. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingStatuses(Arc<Mutex<HashMap<Box<str>, Arc<PendingStatus>>>>);

/// A status that could not be written.
#[derive(Debug)]
struct PendingStatus {
    status: Value,
    /// Status that the object has instead.
    replaces: Value,
}

impl PendingStatus {
    /// Returns the object with this status; `None` if its present status is not the one that this replaces.
    fn over(&self, object: &Object) -> Option<Object> {
        (object.without_spec()["status"] == self.replaces).then(|| object.with_status(&self.status))
    }
}

impl PendingStatuses {
    /// Stores the status of an object with the present status `before`, or replaces a stored one.
    pub(crate) fn insert(&self, uid: &str, status: Value, before: Value) {
        let mut pending = self.0.lock();
        let stored = pending.remove(uid);
        let replaces = stored.map_or(before, |stored| stored.replaces.clone());
        pending.insert(uid.into(), Arc::new(PendingStatus { status, replaces }));
    }

    /// Returns whether there is a status of the object.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.0.lock().contains_key(uid)
    }

    /// Removes the status, because it was written or the object is gone.
    pub(crate) fn remove(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Returns the object as if its pending status had been written. A status that has changed meanwhile takes
    /// precedence: the write succeeded after all, or another replica wrote a newer one.
    pub(crate) fn over(&self, object: Arc<Object>) -> Arc<Object> {
        let pending = self.0.lock().get(&object.uid).cloned();
        let Some(pending) = pending else {
            return object;
        };
        // Other reconciles must not wait while the object is parsed, so the lock is not held.
        if let Some(over) = pending.over(&object) {
            return Arc::new(over);
        }
        self.remove(&object.uid);
        object
    }
}
