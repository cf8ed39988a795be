//! State that reconciles keep for later reconciles. It is lost when the process exits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_operator_core::memo::{Answers, Breaker};

use crate::client::object::Object;
use crate::reconcile::unwritten::Unwritten;

/// State shared by all reconciles. The lock must not be held while an object is parsed, because all others would wait.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Mutex<Remembered>>);

/// The shared state.
pub(crate) struct Remembered {
    /// Results of earlier server-side applies.
    pub(crate) answers: Answers,
    /// Counts of recent writes.
    pub(crate) breaker: Breaker,
    /// Statuses that could not be written.
    pub(crate) unwritten: Unwritten,
}

impl Memory {
    /// Returns an empty memory, in which writes are counted for `window`.
    pub(crate) fn new(window: Duration) -> Self {
        Self(Arc::new(Mutex::new(Remembered {
            answers: Answers::default(),
            breaker: Breaker::new(window),
            unwritten: Unwritten::default(),
        })))
    }

    /// Locks the state.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the object as if its unwritten status had been written. A status that has changed meanwhile takes
    /// precedence: the write succeeded after all, or another replica wrote a newer one.
    pub(crate) fn over(&self, object: Arc<Object>) -> Arc<Object> {
        let kept = self.lock().unwritten.get(&object.uid);
        let Some(kept) = kept else {
            return object;
        };
        if let Some(over) = kept.over(&object) {
            return Arc::new(over);
        }
        self.lock().unwritten.forget(&object.uid);
        object
    }
}
