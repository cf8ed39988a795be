//! Statuses that could not be written although what they tell of was done.
//!
//! A plan finds in the status when workers were scaled or ended. Without it, the next step would come too soon.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::object::Object;

/// Statuses by uid. They end with the process.
#[derive(Debug, Default)]
pub(crate) struct Unwritten(HashMap<Box<str>, Arc<Status>>);

/// A status that could not be written.
#[derive(Debug)]
pub(crate) struct Status {
    status: Value,
    /// The one that is there.
    instead_of: Value,
}

impl Status {
    /// The object with this status; none where it has not the one any more that was there.
    pub(crate) fn over(&self, object: &Object) -> Option<Object> {
        (object.without_spec()["status"] == self.instead_of).then(|| object.with_status(&self.status))
    }
}

impl Unwritten {
    /// Keeps the status of an object, which has `before`, or another one that was kept.
    pub(crate) fn keep(&mut self, uid: &str, status: Value, before: Value) {
        let kept = self.0.remove(uid);
        let instead_of = kept.map_or(before, |kept| kept.instead_of.clone());
        self.0.insert(uid.into(), Arc::new(Status { status, instead_of }));
    }

    /// The status that is kept of this object.
    pub(crate) fn get(&self, uid: &str) -> Option<Arc<Status>> {
        self.0.get(uid).cloned()
    }

    /// Whether a status of this object is kept.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.0.contains_key(uid)
    }

    /// Forgets it: it was written, or the object is gone.
    pub(crate) fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}
