//! Selection of the workers that leave a group.
//!
//! A worker that never started is deleted immediately. Every other worker is marked as retiring, and the next plan asks the
//! scheduler to move its results ([`crate::drain`]).

use crate::desired::Desired;
use crate::observed::{ObservedWorkers, Worker};
use crate::registration::Scheduler;
use crate::takers::Recipients;
use crate::{removal_order, rollout};

/// The reason why a worker leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RemovalReason {
    /// The worker is about to lose its node.
    Disruption,
    /// The group has more workers than desired.
    Surplus,
    /// The worker was created from another template.
    Outdated,
}

/// The way in which a worker leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RemovalMode {
    /// The worker is marked as retiring, and leaves after its results have moved.
    Marked,
    /// The worker is deleted. It has no results.
    Deleted,
    /// The worker is deleted with its results: the scheduler can't be queried, and `scaleDown` is `unsafe`.
    DeletedUnsafely,
}

/// The workers that leave according to this plan.
#[derive(Debug, Default)]
pub(crate) struct Removals<'c, 'a> {
    /// The workers, with the mode and the reason.
    pub(crate) all: Vec<(&'c Worker<'a>, RemovalMode, RemovalReason)>,
    /// Number of surplus workers that stay because the scheduler can't be queried.
    pub(crate) blocked: usize,
    /// Workers that should leave but stay because no other worker can take their results.
    pub(crate) waiting: Vec<(&'c Worker<'a>, RemovalReason)>,
    /// Number of extra workers that are allowed as successors of workers that can't leave before their successor runs.
    pub(crate) successors: usize,
    /// Number of outdated workers, without surplus ones.
    pub(crate) outdated: usize,
}

impl<'c, 'a> Removals<'c, 'a> {
    /// Selects workers of a group. `replaced` is the number of retiring workers that are replaced before they are gone.
    pub(crate) fn of(
        observed_workers: &'c ObservedWorkers<'a>,
        desired: &Desired,
        scheduler: Scheduler<'a>,
        replaced: usize,
    ) -> Self {
        let mut removals = Self::default();
        let (disrupted, mut workers): (Vec<&Worker<'a>>, Vec<_>) = observed_workers
            .workers
            .iter()
            .partition(|worker| worker.disruption.is_some());
        for worker in disrupted {
            // The worker leaves even if the scheduler can't be queried.
            let mode = if worker.may_hold_data {
                RemovalMode::Marked
            } else {
                RemovalMode::Deleted
            };
            removals.all.push((worker, mode, RemovalReason::Disruption));
        }
        let mut recipients = desired.recipients(observed_workers, scheduler);
        let outdated = workers
            .iter()
            .filter(|worker| desired.is_outdated(worker))
            .count();
        let max_workers = desired.max_workers(outdated);
        // If no worker is desired, there are no successors.
        let has_successor = desired.replicas > 0 && workers.len() > max_workers;
        let waits = |worker: &&Worker<'a>| {
            let recipients = recipients.as_ref().filter(|_| desired.is_outdated(worker));
            recipients.is_some_and(|recipients| recipients.are_missing_for(worker, has_successor))
        };
        let are_replaced = desired.is_rolling() && desired.replicas > 0;
        removals.successors = usize::from(are_replaced && workers.iter().any(waits));
        let surplus = workers.len().saturating_sub(max_workers + removals.successors);
        if surplus + outdated > 0 {
            removal_order::sort(&mut workers, desired);
        }
        let staying = workers.split_off(surplus);
        for worker in workers {
            let waits = recipients
                .as_ref()
                .is_some_and(|recipients| recipients.are_missing_for(worker, false));
            removals.leave(
                worker,
                RemovalReason::Surplus,
                waits,
                desired,
                scheduler,
                &mut recipients,
            );
        }
        if removals.blocked == 0 {
            for worker in rollout::next(&staying, desired, replaced) {
                let waits = recipients
                    .as_ref()
                    .is_some_and(|recipients| recipients.are_missing_for(worker, has_successor));
                removals.leave(
                    worker,
                    RemovalReason::Outdated,
                    waits,
                    desired,
                    scheduler,
                    &mut recipients,
                );
            }
        }
        removals.outdated = staying
            .iter()
            .filter(|worker| desired.is_outdated(worker))
            .count();
        removals
    }

    /// Records that a worker leaves, or that it is blocked or waits.
    fn leave(
        &mut self,
        worker: &'c Worker<'a>,
        reason: RemovalReason,
        waits: bool,
        desired: &Desired,
        scheduler: Scheduler<'_>,
        recipients: &mut Option<Recipients<'a>>,
    ) {
        let mode = match scheduler {
            _ if !worker.may_hold_data => RemovalMode::Deleted,
            Scheduler::Known(_) if waits => return self.waiting.push((worker, reason)),
            Scheduler::Known(_) => RemovalMode::Marked,
            Scheduler::Unreachable(_) if desired.ignores_scheduler => RemovalMode::DeletedUnsafely,
            Scheduler::Unreachable(_) | Scheduler::NotQueried => {
                self.blocked += usize::from(reason == RemovalReason::Surplus);
                return;
            }
        };
        if let Some(recipients) = recipients {
            recipients.remove(&worker.registration);
        }
        self.all.push((worker, mode, reason));
    }

    /// Returns the workers that should leave for this reason but stay because no other worker can take their results.
    pub(crate) fn waiting(&self, reason: RemovalReason) -> Vec<&'c Worker<'a>> {
        let waiting = self.waiting.iter().filter(|(_, because)| *because == reason);
        waiting.map(|(worker, _)| *worker).collect()
    }

    /// Returns the workers that leave in this mode.
    pub(crate) fn by(&self, mode: RemovalMode) -> impl Iterator<Item = &'c Worker<'a>> {
        self.all
            .iter()
            .filter(move |(_, by, _)| *by == mode)
            .map(|(worker, _, _)| *worker)
    }

    /// Returns the number of workers that leave for this reason.
    pub(crate) fn count(&self, reason: RemovalReason) -> usize {
        self.all
            .iter()
            .filter(|(_, _, because)| *because == reason)
            .count()
    }
}
