//! Workers that can receive the results of other workers.

use std::collections::HashSet;

use crate::observed::{ObservedWorkers, Worker};
use crate::registration::{Registration, Scheduler};

/// Workers of a cluster that Dask moves results to: they are `running` and not about to leave.
#[derive(Debug)]
pub(crate) struct Recipients<'a> {
    addresses: HashSet<&'a str>,
}

impl<'a> Recipients<'a> {
    /// Returns the recipients among the scheduler's workers of all groups. `None` if the scheduler did not reply.
    pub(crate) fn of(observed_workers: &ObservedWorkers<'a>, scheduler: Scheduler<'a>) -> Option<Self> {
        let Scheduler::Known(facts) = scheduler else {
            return None;
        };
        let running = facts.workers.iter().filter(|worker| worker.status == "running");
        let mut recipients = Self {
            addresses: running.map(|worker| worker.address.as_str()).collect(),
        };
        let disrupted = observed_workers
            .workers
            .iter()
            .filter(|worker| worker.disruption.is_some());
        let leaving = observed_workers
            .leaving
            .iter()
            .chain(disrupted)
            .map(|worker| &worker.registration);
        leaving
            .chain(observed_workers.terminating_registrations())
            .for_each(|registration| recipients.remove(registration));
        Some(recipients)
    }

    /// Returns whether a worker can't leave because no other worker can receive its results: it is the only running worker, and
    /// has results or tasks, or its successor exists and is not running yet. Once there is a successor, the present results do
    /// not matter, because pods would otherwise be created and deleted as results appear and disappear.
    pub(crate) fn are_missing_for(&self, worker: &Worker<'_>, has_successor: bool) -> bool {
        let registration = &worker.registration;
        let own = registration.registered();
        let is_own = |address: &str| own.iter().any(|worker| worker.address == address);
        let is_alone = !own.is_empty() && self.addresses.iter().all(|address| is_own(address));
        is_alone && (has_successor || registration.bytes() > 0 || registration.processing() > 0)
    }

    /// Removes the workers of one pod, because it leaves.
    pub(crate) fn remove(&mut self, registration: &Registration<'_>) {
        for worker in registration.registered() {
            self.addresses.remove(worker.address.as_str());
        }
    }
}
