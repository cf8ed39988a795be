//! Workers that are marked as retiring.
//!
//! The scheduler is asked to retire them: it moves their results to other workers and removes them. A worker that the
//! scheduler no longer knows is deleted. A worker that is still registered at its deadline is deleted anyway, but never
//! while the scheduler can't be queried, and an outdated worker never while it has results. The deadline counts from the
//! mark or, if that is later, from the time since which the scheduler has replied.

use dask_operator_plugin::dask::scheduler::SOON;
use dask_operator_plugin::prelude::*;

use crate::desired::Desired;
use crate::observed::{ObservedWorkers, Worker};
use crate::registration::{Registration, Scheduler};

/// Milliseconds after which a condition reports that a worker can't move its results.
pub(crate) const STUCK_AFTER: i64 = 30_000;
/// Milliseconds within which workers register again with a scheduler that has just started. A scheduler without workers may
/// be one.
const RECONNECT_GRACE: i64 = 5000;

/// The decisions about retiring workers.
#[derive(Debug, Default)]
pub(crate) struct Drain<'c, 'a> {
    /// Workers that stay for now.
    pub(crate) staying: Vec<&'c Worker<'a>>,
    /// Workers that are deleted because the scheduler no longer knows them.
    pub(crate) done: Vec<&'c Worker<'a>>,
    /// Workers that are deleted with their results because their deadline has passed.
    pub(crate) overdue: Vec<&'c Worker<'a>>,
    /// Workers that are deleted with their results because the scheduler can't be queried and `scaleDown` is `unsafe`.
    pub(crate) unsafely: Vec<&'c Worker<'a>>,
    /// Workers in `staying` that have not been able to move their results for [`STUCK_AFTER`], with the start of that time.
    stuck: Vec<(&'c Worker<'a>, Timestamp)>,
    /// Number of stuck workers that are outdated. They are replaced before they are gone.
    pub(crate) replaced: usize,
    /// Addresses of workers that the scheduler must retire.
    pub(crate) retire: Vec<String>,
    /// Milliseconds until the next reconcile. `None` if time changes nothing.
    pub(crate) requeue_after: Option<u64>,
}

impl<'c, 'a> Drain<'c, 'a> {
    /// Decides about the retiring workers of a group.
    pub(crate) fn of(
        observed_workers: &'c ObservedWorkers<'a>,
        desired: &Desired,
        scheduler: Scheduler<'_>,
        now: Timestamp,
    ) -> Self {
        let mut drain = Self::default();
        for worker in &observed_workers.leaving {
            match scheduler {
                _ if !worker.may_hold_data => drain.done.push(worker),
                Scheduler::Unreachable(_) if desired.ignores_scheduler => drain.unsafely.push(worker),
                Scheduler::Unreachable(_) | Scheduler::NotQueried => drain.staying.push(worker),
                Scheduler::Known(facts) => drain.decide(worker, facts, desired, now),
            }
        }
        if let Scheduler::Known(_) = scheduler {
            let staying = drain.staying.iter().map(|worker| &worker.registration);
            let workers = staying
                .chain(observed_workers.terminating_registrations())
                .flat_map(Registration::registered);
            drain.retire = workers.map(|worker| worker.address.clone()).collect();
            drain.retire.sort();
            drain.retire.dedup();
        }
        drain.replaced = drain.stuck(desired, true).len();
        drain
    }

    fn decide(&mut self, worker: &'c Worker<'a>, facts: &SchedulerFacts, desired: &Desired, now: Timestamp) {
        let marked = worker.retiring_since.unwrap_or(now);
        let grace = if facts.workers.is_empty() {
            RECONNECT_GRACE
        } else {
            0
        };
        if matches!(worker.registration, Registration::Unregistered) {
            if facts.observed_at > marked + grace {
                return self.done.push(worker);
            }
            // The worker may have registered in the meantime, which the next facts show.
            self.requeue_within(SOON);
        }
        let since = marked.max(facts.answers_since);
        let left = |milliseconds: i64| {
            let left = since.saturating_add(milliseconds) - now;
            u64::try_from(left).ok().filter(|left| *left > 0)
        };
        if !desired.keeps_results(worker) {
            let Some(rest) = left(desired.drain_timeout) else {
                return self.overdue.push(worker);
            };
            self.requeue_within(rest);
        }
        match left(STUCK_AFTER) {
            Some(rest) => self.requeue_within(rest),
            None => self.stuck.push((worker, since)),
        }
        self.staying.push(worker);
    }

    /// Returns the stuck workers that leave because they are outdated (`outgoing`), or all other stuck workers.
    pub(crate) fn stuck(&self, desired: &Desired, outgoing: bool) -> Vec<(&'c Worker<'a>, Timestamp)> {
        let stuck = self.stuck.iter().copied();
        stuck
            .filter(|(worker, _)| desired.is_outgoing(worker) == outgoing)
            .collect()
    }

    fn requeue_within(&mut self, milliseconds: u64) {
        self.requeue_after = Some(
            self.requeue_after
                .map_or(milliseconds, |other| other.min(milliseconds)),
        );
    }
}
