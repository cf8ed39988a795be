//! How much is written for one Dask resource, and told of it. What needs more is a loop.

use std::time::Duration;

use dask_operator_core::parent::{DaskKind, Parent};
use tracing::debug;

use super::Reconciler;
use crate::object::Object;

/// The time in which writes are counted, and how many of it one object may have: two a second for a minute.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
pub(super) const MOST_WRITES: usize = 120;

/// How many writes there may be in that time for one resource, whatever they are and whatever its children are called: so
/// many, and more for each child that it has or shall have. One that is replaced is marked, deleted and created.
const MOST_TOGETHER: usize = 4 * MOST_WRITES;
const MOST_FOR_CHILD: usize = 4;

/// How many events about one resource are published in that time. Others are left out: its status tells of what lasts.
const MOST_EVENTS: usize = 60;

/// Whose writes are counted together.
pub(super) struct Account {
    id: String,
    most: usize,
}

impl Account {
    /// Of a resource that has or shall have so many children.
    pub(super) fn new(parent: &Parent, children: usize) -> Self {
        Self {
            id: format!("{} together", parent.uid),
            most: MOST_TOGETHER + MOST_FOR_CHILD * children,
        }
    }
}

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
        self.withheld(write, admitted);
        admitted
    }

    /// The same for the status of a resource. Whatever else it has used up, it has to say what is wrong.
    pub(super) fn admit_status(&self, object: &Object, kind: DaskKind) -> Result<(), Duration> {
        let write = Count {
            id: object.uid.to_string(),
            most: MOST_WRITES,
            kind: kind.kind(),
        };
        let now = self.start.elapsed();
        let admitted = self.memory.lock().breaker.admit(&write.id, write.most, now);
        self.withheld(&write, admitted);
        admitted
    }

    /// Whether people are told of one more event about a resource.
    pub(super) fn may_tell(&self, object: &Object) -> bool {
        let write = Count {
            id: format!("{} events", object.uid),
            most: MOST_EVENTS,
            kind: "Event",
        };
        let now = self.start.elapsed();
        let admitted = self.memory.lock().breaker.admit(&write.id, write.most, now);
        self.withheld(&write, admitted);
        admitted.is_ok()
    }

    fn withheld(&self, write: &Count<'_>, admitted: Result<(), Duration>) {
        if let Err(wait) = admitted {
            self.metrics.withheld(write.kind);
            debug!(?wait, id = write.id, "withheld");
        }
    }

    /// Takes back a write that was admitted: it was not done, and is not tried again at once.
    pub(super) fn take_back(&self, account: &Account, write: &Count<'_>) {
        let mut memory = self.memory.lock();
        memory.breaker.take_back(&write.id);
        memory.breaker.take_back(&account.id);
    }
}
