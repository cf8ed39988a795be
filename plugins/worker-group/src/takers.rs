//! Workers that can take the results of others.

use std::collections::HashSet;

use crate::census::{Census, Worker};
use crate::roster::{Scheduler, Standing};

/// Workers of a cluster that Dask moves results to: they are `running`, and not about to leave.
#[derive(Debug)]
pub(crate) struct Takers<'a> {
    addresses: HashSet<&'a str>,
}

impl<'a> Takers<'a> {
    /// Returns those of the scheduler's workers, of whatever group. `None` where the scheduler did not say.
    pub(crate) fn of(census: &Census<'a>, scheduler: Scheduler<'a>) -> Option<Self> {
        let Scheduler::Known(facts) = scheduler else {
            return None;
        };
        let running = facts.workers.iter().filter(|worker| worker.status == "running");
        let mut takers = Self {
            addresses: running.map(|worker| worker.address.as_str()).collect(),
        };
        let noticed = census.workers.iter().filter(|worker| worker.notice.is_some());
        let leaving = census
            .leaving
            .iter()
            .chain(noticed)
            .map(|worker| &worker.standing);
        let terminating = census.terminating.iter().map(|terminating| &terminating.standing);
        leaving
            .chain(terminating)
            .for_each(|standing| takers.leaves(standing));
        Some(takers)
    }

    /// Returns whether a worker can't leave for want of another that takes its results: it is the only one that runs, and
    /// holds results or works, or its successor exists and does not run yet. Once there is a successor, it does not matter
    /// whether there are results at the moment: else pods would be created and deleted as results come and go.
    pub(crate) fn are_missing_for(&self, worker: &Worker<'_>, has_successor: bool) -> bool {
        let standing = &worker.standing;
        let own = standing.registered();
        let is_own = |address: &str| own.iter().any(|worker| worker.address == address);
        let is_alone = !own.is_empty() && self.addresses.iter().all(|address| is_own(address));
        is_alone && (has_successor || standing.bytes() > 0 || standing.processing() > 0)
    }

    /// Notes that the workers of one pod leave.
    pub(crate) fn leaves(&mut self, standing: &Standing<'_>) {
        for worker in standing.registered() {
            self.addresses.remove(worker.address.as_str());
        }
    }
}
