//! Selection of the workers that leave a group.
//!
//! A worker that never started is deleted immediately. Every other worker is marked as retiring, and the next plan asks the
//! scheduler to move its results ([`crate::drain`]).

use crate::census::{Census, Worker};
use crate::roster::Scheduler;
use crate::takers::Recipients;
use crate::wanted::Wanted;
use crate::{rollout, victims};

/// The reason why a worker leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The worker is about to lose its node.
    Notice,
    /// The group has more workers than desired.
    Surplus,
    /// The worker was created from another template.
    Outdated,
}

/// The way in which a worker leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The worker is marked as retiring, and leaves after its results have moved.
    Marked,
    /// The worker is deleted. It has no results.
    Deleted,
    /// The worker is deleted with its results: the scheduler can't be queried, and `scaleDown` is `unsafe`.
    DeletedUnsafely,
}

/// The workers that leave according to this plan.
#[derive(Debug, Default)]
pub(crate) struct Departures<'c, 'a> {
    /// The workers, with the mode and the reason.
    pub(crate) all: Vec<(&'c Worker<'a>, Mode, Reason)>,
    /// Number of surplus workers that stay because the scheduler can't be queried.
    pub(crate) blocked: usize,
    /// Workers that should leave but stay because no other worker can take their results.
    pub(crate) waiting: Vec<(&'c Worker<'a>, Reason)>,
    /// Number of extra workers that are allowed as successors of workers that can't leave before their successor runs.
    pub(crate) successors: usize,
    /// Number of outdated workers, without surplus ones.
    pub(crate) outdated: usize,
}

impl<'c, 'a> Departures<'c, 'a> {
    /// Selects workers of a group. `replaced` is the number of retiring workers that are replaced before they are gone.
    pub(crate) fn of(
        census: &'c Census<'a>,
        wanted: &Wanted,
        scheduler: Scheduler<'a>,
        replaced: usize,
    ) -> Self {
        let mut departures = Self::default();
        let (noticed, mut workers): (Vec<&Worker<'a>>, Vec<_>) =
            census.workers.iter().partition(|worker| worker.notice.is_some());
        for worker in noticed {
            // The worker leaves even if the scheduler can't be queried.
            let mode = if worker.may_hold_data {
                Mode::Marked
            } else {
                Mode::Deleted
            };
            departures.all.push((worker, mode, Reason::Notice));
        }
        let mut recipients = wanted.recipients(census, scheduler);
        let outdated = workers.iter().filter(|worker| wanted.is_outdated(worker)).count();
        let max_workers = wanted.max_workers(outdated);
        // If no worker is desired, there are no successors.
        let has_successor = wanted.replicas > 0 && workers.len() > max_workers;
        let waits = |worker: &&Worker<'a>| {
            let recipients = recipients.as_ref().filter(|_| wanted.is_outdated(worker));
            recipients.is_some_and(|recipients| recipients.are_missing_for(worker, has_successor))
        };
        let are_replaced = wanted.is_rolling() && wanted.replicas > 0;
        departures.successors = usize::from(are_replaced && workers.iter().any(waits));
        let surplus = workers.len().saturating_sub(max_workers + departures.successors);
        if surplus + outdated > 0 {
            victims::sort(&mut workers, wanted);
        }
        let staying = workers.split_off(surplus);
        for worker in workers {
            let waits = recipients
                .as_ref()
                .is_some_and(|recipients| recipients.are_missing_for(worker, false));
            departures.leave(worker, Reason::Surplus, waits, wanted, scheduler, &mut recipients);
        }
        if departures.blocked == 0 {
            for worker in rollout::next(&staying, wanted, replaced) {
                let waits = recipients
                    .as_ref()
                    .is_some_and(|recipients| recipients.are_missing_for(worker, has_successor));
                departures.leave(
                    worker,
                    Reason::Outdated,
                    waits,
                    wanted,
                    scheduler,
                    &mut recipients,
                );
            }
        }
        departures.outdated = staying.iter().filter(|worker| wanted.is_outdated(worker)).count();
        departures
    }

    /// Records that a worker leaves, or that it is blocked or waits.
    fn leave(
        &mut self,
        worker: &'c Worker<'a>,
        reason: Reason,
        waits: bool,
        wanted: &Wanted,
        scheduler: Scheduler<'_>,
        recipients: &mut Option<Recipients<'a>>,
    ) {
        let mode = match scheduler {
            _ if !worker.may_hold_data => Mode::Deleted,
            Scheduler::Known(_) if waits => return self.waiting.push((worker, reason)),
            Scheduler::Known(_) => Mode::Marked,
            Scheduler::Unreachable(_) if wanted.ignores_scheduler => Mode::DeletedUnsafely,
            Scheduler::Unreachable(_) | Scheduler::NotQueried => {
                self.blocked += usize::from(reason == Reason::Surplus);
                return;
            }
        };
        if let Some(recipients) = recipients {
            recipients.remove(&worker.registration);
        }
        self.all.push((worker, mode, reason));
    }

    /// Returns the workers that should leave for this reason but stay because no other worker can take their results.
    pub(crate) fn waiting(&self, reason: Reason) -> Vec<&'c Worker<'a>> {
        let waiting = self.waiting.iter().filter(|(_, because)| *because == reason);
        waiting.map(|(worker, _)| *worker).collect()
    }

    /// Returns the workers that leave in this mode.
    pub(crate) fn by(&self, mode: Mode) -> impl Iterator<Item = &'c Worker<'a>> {
        self.all
            .iter()
            .filter(move |(_, by, _)| *by == mode)
            .map(|(worker, _, _)| *worker)
    }

    /// Returns the number of workers that leave for this reason.
    pub(crate) fn count(&self, reason: Reason) -> usize {
        self.all
            .iter()
            .filter(|(_, _, because)| *because == reason)
            .count()
    }
}
