//! Rate limits for the writes and events of one Dask resource. A resource that needs more is in a loop. Pure.

use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::write_breaker::WriteBreaker;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::debug;

use crate::client::object::Object;
use crate::reconcile::metrics::ReconcileMetrics;

/// Period in which writes are counted, and the limit for one object in it: two writes a second for a minute.
const WINDOW: Duration = Duration::from_secs(60);
pub(super) const MAX_WRITES: usize = 120;

/// Limit of all writes for one resource in that period, whatever they are and whatever the names of its children are: a
/// fixed number, and more for each child that the resource has or plans. A child that is replaced is marked, deleted
/// and created.
const MAX_WRITES_OF_RESOURCE: usize = 4 * MAX_WRITES;
const MAX_WRITES_OF_CHILD: usize = 4;

/// Limit of the events about one resource in that period. Further events are dropped: lasting problems are in the
/// status.
const MAX_EVENTS: usize = 60;

/// Limit of all writes for one resource.
pub(super) struct TotalLimit {
    id: String,
    most: usize,
}

impl TotalLimit {
    /// Returns the limit of a resource that has or plans `children` children.
    pub(super) fn new(parent: &Parent, children: usize) -> Self {
        Self {
            id: format!("{} together", parent.uid),
            most: MAX_WRITES_OF_RESOURCE + MAX_WRITES_OF_CHILD * children,
        }
    }
}

/// Limit of the writes of one sort for one object.
pub(super) struct WriteLimit<'a> {
    /// Name of the counter, as `UID deletes Pod/a`.
    pub(super) id: String,
    /// Limit of this counter.
    pub(super) most: usize,
    /// Kind of the written object.
    pub(super) kind: &'a str,
}

/// Counts of recent writes. Clones share them.
#[derive(Clone)]
pub(crate) struct WriteBudget {
    breaker: Arc<Mutex<WriteBreaker>>,
    metrics: ReconcileMetrics,
    start: Instant,
}

impl WriteBudget {
    /// Returns a budget of which nothing is used. Withheld writes are counted in `metrics`.
    pub(crate) fn new(metrics: ReconcileMetrics) -> Self {
        Self {
            breaker: Arc::new(Mutex::new(WriteBreaker::new(WINDOW))),
            metrics,
            start: Instant::now(),
        }
    }

    /// Counts a write if it is within both limits.
    ///
    /// # Errors
    ///
    /// Returns the time until the write is permitted.
    pub(super) fn admit(&self, total: &TotalLimit, write: &WriteLimit<'_>) -> Result<(), Duration> {
        let now = self.start.elapsed();
        let mut breaker = self.breaker.lock();
        let mut admitted = breaker.admit(&total.id, total.most, now);
        if admitted.is_ok() {
            admitted = breaker.admit(&write.id, write.most, now);
            if admitted.is_err() {
                breaker.take_back(&total.id);
            }
        }
        drop(breaker);
        self.count_withheld(write, admitted);
        admitted
    }

    /// Counts a write of the status if it is within its own limit. The limit of all writes does not include it, so that
    /// problems can always be reported.
    ///
    /// # Errors
    ///
    /// Returns the time until the write is permitted.
    pub(super) fn admit_status(&self, object: &Object, kind: DaskKind) -> Result<(), Duration> {
        self.admit_alone(&WriteLimit {
            id: object.uid.to_string(),
            most: MAX_WRITES,
            kind: kind.kind(),
        })
    }

    /// Counts an event about a resource if it is within its own limit.
    ///
    /// # Errors
    ///
    /// Returns the time until the event is permitted.
    pub(super) fn admit_event(&self, object: &Object) -> Result<(), Duration> {
        self.admit_alone(&WriteLimit {
            id: format!("{} events", object.uid),
            most: MAX_EVENTS,
            kind: "Event",
        })
    }

    fn admit_alone(&self, write: &WriteLimit<'_>) -> Result<(), Duration> {
        let admitted = self
            .breaker
            .lock()
            .admit(&write.id, write.most, self.start.elapsed());
        self.count_withheld(write, admitted);
        admitted
    }

    fn count_withheld(&self, write: &WriteLimit<'_>, admitted: Result<(), Duration>) {
        if let Err(wait) = admitted {
            self.metrics.withheld(write.kind);
            debug!(?wait, id = write.id, "withheld");
        }
    }

    /// Removes an admitted write from the counters: it failed and is not retried at once.
    pub(super) fn take_back(&self, total: &TotalLimit, write: &WriteLimit<'_>) {
        let mut breaker = self.breaker.lock();
        breaker.take_back(&write.id);
        breaker.take_back(&total.id);
    }

    /// Removes the counters of objects that have not been written for long.
    pub(super) fn sweep(&self) {
        let now = self.start.elapsed();
        self.breaker.lock().sweep(now);
    }
}
