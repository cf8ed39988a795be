//! Statuses that could not be written although the steps that they describe were executed.
//!
//! A plan reads in the status when workers were last scaled or stopped. Without the status, it would plan the next step
//! too soon.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::client::object::Object;

/// Unwritten statuses by uid. They are lost when the process exits.
#[derive(Debug, Default)]
pub(crate) struct Unwritten(HashMap<Box<str>, Arc<Status>>);

/// A status that could not be written.
#[derive(Debug)]
pub(crate) struct Status {
    status: Value,
    /// Status that the object has instead.
    replaces: Value,
}

impl Status {
    /// Returns the object with this status; `None` if its present status is not the one that this replaces.
    pub(crate) fn over(&self, object: &Object) -> Option<Object> {
        (object.without_spec()["status"] == self.replaces).then(|| object.with_status(&self.status))
    }
}

impl Unwritten {
    /// Stores the status of an object with the present status `before`, or replaces a stored one.
    pub(crate) fn insert(&mut self, uid: &str, status: Value, before: Value) {
        let stored = self.0.remove(uid);
        let replaces = stored.map_or(before, |stored| stored.replaces.clone());
        self.0.insert(uid.into(), Arc::new(Status { status, replaces }));
    }

    /// Returns the stored status of an object.
    pub(crate) fn get(&self, uid: &str) -> Option<Arc<Status>> {
        self.0.get(uid).cloned()
    }

    /// Returns whether there is a stored status of the object.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.0.contains_key(uid)
    }

    /// Removes the stored status, because it was written or the object is gone.
    pub(crate) fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}
