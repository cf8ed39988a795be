//! Workers that were told to leave.
//!
//! The scheduler is asked to retire them: it moves what they hold to other workers, and forgets them. A worker that the
//! scheduler no longer knows is deleted. A worker that is still there at its deadline is deleted all the same, but never
//! while the scheduler can't be asked, and not for being outdated while it holds results. The deadline counts from the mark
//! or, where that is later, from the time since which the scheduler has answered.

use dask_operator_plugin::dask::scheduler::SOON;
use dask_operator_plugin::prelude::*;

use crate::census::{Census, Worker};
use crate::roster::{Scheduler, Standing};
use crate::wanted::Wanted;

/// Milliseconds after which a condition says that a worker can't hand on what it holds.
pub(crate) const PATIENCE: i64 = 30_000;
/// A scheduler that knows no worker at all may have just started, and its workers come back within so many milliseconds.
const COMING_BACK: i64 = 5000;

/// What becomes of workers that were told to leave.
#[derive(Debug, Default)]
pub(crate) struct Drain<'c, 'a> {
    /// They stay for now.
    pub(crate) staying: Vec<&'c Worker<'a>>,
    /// They are deleted: the scheduler does not know them any more.
    pub(crate) done: Vec<&'c Worker<'a>>,
    /// They are deleted with what they hold, because their deadline has passed.
    pub(crate) overdue: Vec<&'c Worker<'a>>,
    /// They are deleted with what they hold, because the scheduler can't be asked and `scaleDown` is `unsafe`.
    pub(crate) unsafely: Vec<&'c Worker<'a>>,
    /// Those of `staying` that have tried for a while to hand on what they hold, and since when.
    stuck: Vec<(&'c Worker<'a>, Timestamp)>,
    /// How many of these leave for being outdated: their successors come first.
    pub(crate) replaced: usize,
    /// Addresses of workers that the scheduler shall retire.
    pub(crate) retire: Vec<String>,
    /// In how many milliseconds something may have changed.
    pub(crate) look_again: Option<u64>,
}

impl<'c, 'a> Drain<'c, 'a> {
    /// Decides about those of a group.
    pub(crate) fn of(
        census: &'c Census<'a>,
        wanted: &Wanted,
        scheduler: Scheduler<'_>,
        now: Timestamp,
    ) -> Self {
        let mut drain = Self::default();
        for worker in &census.leaving {
            match scheduler {
                _ if !worker.may_hold_data => drain.done.push(worker),
                Scheduler::Unreachable(_) if wanted.gives_up => drain.unsafely.push(worker),
                Scheduler::Unreachable(_) | Scheduler::NotAsked => drain.staying.push(worker),
                Scheduler::Known(facts) => drain.ask(worker, facts, wanted, now),
            }
        }
        if let Scheduler::Known(_) = scheduler {
            let terminating = census.terminating.iter().map(|terminating| &terminating.standing);
            let staying = drain.staying.iter().map(|worker| &worker.standing);
            let workers = staying.chain(terminating).flat_map(Standing::registered);
            drain.retire = workers.map(|worker| worker.address.clone()).collect();
            drain.retire.sort();
            drain.retire.dedup();
        }
        drain.replaced = drain.stuck(wanted, true).len();
        drain
    }

    fn ask(&mut self, worker: &'c Worker<'a>, facts: &SchedulerFacts, wanted: &Wanted, now: Timestamp) {
        let marked = worker.retiring_since.unwrap_or(now);
        let grace = if facts.workers.is_empty() { COMING_BACK } else { 0 };
        if matches!(worker.standing, Standing::Unregistered) {
            if facts.observed_at > marked + grace {
                return self.done.push(worker);
            }
            // It may have registered since: the next answer tells.
            self.look_again_in(SOON);
        }
        let since = marked.max(facts.answers_since);
        let left = |milliseconds: i64| {
            let left = since.saturating_add(milliseconds) - now;
            u64::try_from(left).ok().filter(|left| *left > 0)
        };
        if !wanted.keeps_results(worker) {
            let Some(rest) = left(wanted.drain_timeout) else {
                return self.overdue.push(worker);
            };
            self.look_again_in(rest);
        }
        match left(PATIENCE) {
            Some(patience) => self.look_again_in(patience),
            None => self.stuck.push((worker, since)),
        }
        self.staying.push(worker);
    }

    /// Those that have tried for a while to hand on what they hold: those that leave for being outdated, or all others.
    pub(crate) fn stuck(&self, wanted: &Wanted, outgoing: bool) -> Vec<(&'c Worker<'a>, Timestamp)> {
        let stuck = self.stuck.iter().copied();
        stuck
            .filter(|(worker, _)| wanted.is_outgoing(worker) == outgoing)
            .collect()
    }

    fn look_again_in(&mut self, milliseconds: u64) {
        self.look_again = Some(
            self.look_again
                .map_or(milliseconds, |again| again.min(milliseconds)),
        );
    }
}
