//! How much is written for one Dask resource. What needs more is a loop.

use std::time::Duration;

use dask_operator_core::parent::DaskKind;
use tracing::debug;

use super::Reconciler;
use crate::object::Object;

/// The time in which writes are counted, and how many of it one object may have: two a second for a minute.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
pub(super) const MOST_WRITES: usize = 120;

/// A write that is counted.
pub(super) struct Count<'a> {
    /// What is counted, as `UID deletes Pod/a`.
    pub(super) id: String,
    /// How many of that are let through.
    pub(super) most: usize,
    /// The kind of what is written.
    pub(super) kind: &'a str,
}

impl Reconciler {
    /// Asks whether a write may be done now, and counts it if so. An error says for how long it has to wait.
    pub(super) fn admit(&self, write: &Count<'_>) -> Result<(), Duration> {
        let now = self.start.elapsed();
        let admitted = self.memory.lock().breaker.admit(&write.id, write.most, now);
        if let Err(wait) = admitted {
            self.metrics.withheld(write.kind);
            debug!(?wait, id = write.id, "withheld");
        }
        admitted
    }

    /// The same for the status of a resource.
    pub(super) fn admit_status(&self, object: &Object, kind: DaskKind) -> Result<(), Duration> {
        self.admit(&Count {
            id: object.uid.to_string(),
            most: MOST_WRITES,
            kind: kind.kind(),
        })
    }

    /// Takes back a write that was admitted: it was not done, and is not tried again at once.
    pub(super) fn take_back(&self, write: &Count<'_>) {
        self.memory.lock().breaker.take_back(&write.id);
    }
}
