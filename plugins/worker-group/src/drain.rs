//! What becomes of workers that were told to leave.
//!
//! The scheduler is asked to retire them: what they hold is moved to others, and it forgets them. A worker that it no
//! longer knows is deleted. Whoever is still there when its time is over is deleted all the same, but never while the
//! scheduler can't be asked: its time starts again then. It starts again, too, when the operator was away: nobody has
//! asked for it then.

use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::scheduler::SOON;
use dask_operator_plugin::prelude::*;

use crate::census::{Census, Worker};
use crate::conditions::{self, SCALE_DOWN_BLOCKED};
use crate::roster::{Scheduler, Standing};
use crate::wanted::Wanted;

/// After so many milliseconds it is said that a worker can't hand on what it holds.
pub(crate) const PATIENCE: i64 = 30_000;
/// A scheduler that knows no worker at all has just started, perhaps, and they come back to it.
const COMING_BACK: i64 = 5000;

/// What becomes of them.
#[derive(Debug, Default)]
pub(crate) struct Drain<'c, 'a> {
    /// They stay for now.
    pub(crate) staying: Vec<&'c Worker<'a>>,
    /// They stay, and their time starts again.
    pub(crate) again: Vec<&'c Worker<'a>>,
    /// They are deleted: the scheduler does not know them any more.
    pub(crate) done: Vec<&'c Worker<'a>>,
    /// They are deleted with what they hold, because their time is over.
    pub(crate) overdue: Vec<&'c Worker<'a>>,
    /// They are deleted with what they hold, because the scheduler can't be asked and somebody wants it so.
    pub(crate) unsafely: Vec<&'c Worker<'a>>,
    /// They stay, and have tried to hand on what they hold for a while.
    pub(crate) stuck: Vec<&'c Worker<'a>>,
    /// Of so many that stay the successors come before they are gone, because nobody else takes what they hold.
    pub(crate) replaced: usize,
    /// Addresses of workers that the scheduler shall retire.
    pub(crate) retire: Vec<String>,
    /// In how many milliseconds something may have changed.
    pub(crate) look_again: Option<u64>,
}

impl<'c, 'a> Drain<'c, 'a> {
    /// Looks at those of a group.
    pub(crate) fn of(
        census: &'c Census<'a>,
        wanted: &Wanted,
        scheduler: Scheduler<'_>,
        group: &Resource<'_>,
        now: Timestamp,
    ) -> Self {
        let mut drain = Self::default();
        // The time in which nobody could be asked does not count.
        let starts_again = conditions::reason(group, SCALE_DOWN_BLOCKED) == Some(conditions::UNREACHABLE);
        for worker in &census.leaving {
            match scheduler {
                _ if !worker.may_hold_data => drain.done.push(worker),
                Scheduler::Unreachable(_) if wanted.gives_up => drain.unsafely.push(worker),
                // Nobody remembers what was asked: the operator has just started, and may have been gone for long.
                Scheduler::NotAsked if worker.retiring_since.is_some_and(|since| now - since >= PATIENCE) => {
                    drain.again.push(worker);
                }
                Scheduler::Unreachable(_) | Scheduler::NotAsked => drain.staying.push(worker),
                Scheduler::Known(facts) => drain.ask(worker, facts, wanted, starts_again, now),
            }
        }
        if let Scheduler::Known(facts) = scheduler {
            let terminating = census.terminating.iter().map(|terminating| &terminating.standing);
            let kept = [&drain.staying, &drain.again]
                .into_iter()
                .flatten()
                .map(|worker| &worker.standing);
            let workers = kept.chain(terminating).flat_map(Standing::registered);
            drain.retire = workers.map(|worker| worker.address.clone()).collect();
            drain.retire.sort();
            drain.retire.dedup();
            drain.replaced = drain.replaced(facts, wanted, now);
        }
        drain
    }

    /// How many are outdated and do not get rid of what they hold: there is nobody who could take it, or they have tried
    /// for a while. Dask moves results to workers that are `running` and not about to leave themselves.
    fn replaced(&self, facts: &SchedulerFacts, wanted: &Wanted, now: Timestamp) -> usize {
        let is_leaving = |worker: &SchedulerWorker| self.retire.binary_search(&worker.address).is_ok();
        let nobody_takes = !facts
            .workers
            .iter()
            .any(|worker| worker.status == "running" && !is_leaving(worker));
        let outgoing = self.staying.iter().filter(|worker| wanted.is_outgoing(worker));
        outgoing
            .filter(|worker| patience(worker, now).is_none() || (nobody_takes && worker.standing.bytes() > 0))
            .count()
    }

    fn ask(
        &mut self,
        worker: &'c Worker<'a>,
        facts: &SchedulerFacts,
        wanted: &Wanted,
        starts_again: bool,
        now: Timestamp,
    ) {
        let since = worker.retiring_since.unwrap_or(now);
        let grace = if facts.workers.is_empty() { COMING_BACK } else { 0 };
        if matches!(worker.standing, Standing::Unregistered) {
            if facts.observed_at > since + grace {
                return self.done.push(worker);
            }
            // It may have registered since: the next answer tells.
            self.look_again_in(SOON);
        }
        if starts_again {
            self.look_again_in(SOON);
            return self.again.push(worker);
        }
        let left = since.saturating_add(wanted.drain_timeout) - now;
        let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) else {
            return self.overdue.push(worker);
        };
        self.look_again_in(left);
        match patience(worker, now) {
            Some(patience) => self.look_again_in(patience),
            None => self.stuck.push(worker),
        }
        self.staying.push(worker);
    }

    fn look_again_in(&mut self, milliseconds: u64) {
        self.look_again = Some(
            self.look_again
                .map_or(milliseconds, |again| again.min(milliseconds)),
        );
    }
}

/// How many milliseconds more a worker may try to hand on what it holds before that is worth a word; none when it has
/// tried for longer.
fn patience(worker: &Worker<'_>, now: Timestamp) -> Option<u64> {
    let since = worker.retiring_since.unwrap_or(now);
    u64::try_from(since + PATIENCE - now)
        .ok()
        .filter(|left| *left > 0)
}
