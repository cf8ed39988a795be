//! Rate limits for the writes and events of one Dask resource. A resource that needs more is in a loop.

use std::time::Duration;

use dask_operator_core::parent::{DaskKind, Parent};
use tracing::debug;

use super::Reconciler;
use crate::client::object::Object;

/// Period in which writes are counted, and the limit for one object in it: two writes a second for a minute.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
pub(super) const MAX_WRITES: usize = 120;

/// Limit of all writes for one resource in that period, whatever they are and whatever the names of its children are: a
/// fixed number, and more for each child that the resource has or plans. A child that is replaced is marked, deleted
/// and created.
const MAX_WRITES_OF_RESOURCE: usize = 4 * MAX_WRITES;
const MAX_WRITES_OF_CHILD: usize = 4;

/// Limit of the events about one resource in that period. Further events are dropped: lasting problems are in the
/// status.
const MAX_EVENTS: usize = 60;

/// Account for all writes of one resource.
pub(super) struct Account {
    id: String,
    most: usize,
}

impl Account {
    /// Returns the account of a resource that has or plans `children` children.
    pub(super) fn new(parent: &Parent, children: usize) -> Self {
        Self {
            id: format!("{} together", parent.uid),
            most: MAX_WRITES_OF_RESOURCE + MAX_WRITES_OF_CHILD * children,
        }
    }
}

/// A write that is counted.
pub(super) struct Count<'a> {
    /// Name of the counter, as `UID deletes Pod/a`.
    pub(super) id: String,
    /// Limit of this counter.
    pub(super) most: usize,
    /// Kind of the written object.
    pub(super) kind: &'a str,
}

impl Reconciler {
    /// Counts a write if it is within the limits.
    ///
    /// # Errors
    ///
    /// Returns the time until the write is permitted.
    pub(super) fn admit(&self, account: &Account, write: &Count<'_>) -> Result<(), Duration> {
        let now = self.start.elapsed();
        let mut memory = self.memory.lock();
        let breaker = &mut memory.breaker;
        let mut admitted = breaker.admit(&account.id, account.most, now);
        if admitted.is_ok() {
            admitted = breaker.admit(&write.id, write.most, now);
            if admitted.is_err() {
                breaker.take_back(&account.id);
            }
        }
        drop(memory);
        self.log_withheld(write, admitted);
        admitted
    }

    /// Counts a write of the status if it is within its own limit. The account of the resource does not limit it, so
    /// that problems can always be reported.
    ///
    /// # Errors
    ///
    /// Returns the time until the write is permitted.
    pub(super) fn admit_status(&self, object: &Object, kind: DaskKind) -> Result<(), Duration> {
        let write = Count {
            id: object.uid.to_string(),
            most: MAX_WRITES,
            kind: kind.kind(),
        };
        let now = self.start.elapsed();
        let admitted = self.memory.lock().breaker.admit(&write.id, write.most, now);
        self.log_withheld(&write, admitted);
        admitted
    }

    /// Returns whether one more event about a resource may be published.
    pub(super) fn may_publish_event(&self, object: &Object) -> bool {
        let write = Count {
            id: format!("{} events", object.uid),
            most: MAX_EVENTS,
            kind: "Event",
        };
        let now = self.start.elapsed();
        let admitted = self.memory.lock().breaker.admit(&write.id, write.most, now);
        self.log_withheld(&write, admitted);
        admitted.is_ok()
    }

    fn log_withheld(&self, write: &Count<'_>, admitted: Result<(), Duration>) {
        if let Err(wait) = admitted {
            self.metrics.withheld(write.kind);
            debug!(?wait, id = write.id, "withheld");
        }
    }

    /// Removes an admitted write from the counters: it failed and is not retried at once.
    pub(super) fn take_back(&self, account: &Account, write: &Count<'_>) {
        let mut memory = self.memory.lock();
        memory.breaker.take_back(&write.id);
        memory.breaker.take_back(&account.id);
    }
}
