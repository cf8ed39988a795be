//! Statuses that could not be written although what they tell of was done.
//!
//! A plan finds in the status when workers were scaled or ended. Without it, the next step would come too soon.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::object::Object;

/// Statuses by uid. They end with the process.
#[derive(Debug, Default)]
pub(crate) struct Unwritten(HashMap<Box<str>, Status>);

#[derive(Debug)]
struct Status {
    status: Value,
    /// The one that is there.
    instead_of: Value,
}

impl Unwritten {
    /// Keeps the status of an object, which has `before`, or another one that was kept.
    pub(crate) fn keep(&mut self, uid: &str, status: Value, before: &Value) {
        let kept = self.0.remove(uid);
        let instead_of = kept.map_or_else(|| before.clone(), |kept| kept.instead_of);
        self.0.insert(uid.into(), Status { status, instead_of });
    }

    /// Returns the object as it would be if its status had been written. Where it has another one by now, that counts: it was
    /// written after all, or by another replica, which knows more.
    pub(crate) fn over(&mut self, object: Arc<Object>) -> Arc<Object> {
        let Some(kept) = self.0.get(&object.uid) else {
            return object;
        };
        if object.value()["status"] == kept.instead_of {
            return Arc::new(object.with_status(&kept.status));
        }
        self.forget(&object.uid);
        object
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
