//! What passes leave behind for later ones. It ends with the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_operator_core::memo::{Answers, Breaker};

use crate::object::Object;
use crate::unwritten::Unwritten;

/// Shared by all passes. Nobody holds it while looking at an object: all others would wait.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Mutex<Remembered>>);

/// What is remembered.
pub(crate) struct Remembered {
    /// What the API server made of what was applied.
    pub(crate) answers: Answers,
    /// How often something was written.
    pub(crate) breaker: Breaker,
    /// Statuses that could not be written.
    pub(crate) unwritten: Unwritten,
}

impl Memory {
    /// Remembers nothing yet. Writes are counted for so long.
    pub(crate) fn new(window: Duration) -> Self {
        Self(Arc::new(Mutex::new(Remembered {
            answers: Answers::default(),
            breaker: Breaker::new(window),
            unwritten: Unwritten::default(),
        })))
    }

    /// All of it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object as it would be if its status had been written. Where it has another one by now, that counts: it was
    /// written after all, or by another replica, which knows more.
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
