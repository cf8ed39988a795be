//! Which workers are told to leave.
//!
//! Who never was a worker is deleted at once. Everybody else is marked: the next plan asks the scheduler to move what
//! they hold ([`crate::drain`]).

use crate::census::{Census, Worker};
use crate::roster::Scheduler;
use crate::takers::Takers;
use crate::wanted::Wanted;
use crate::{rollout, victims};

/// Why a worker leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// It is about to lose its node.
    Notice,
    /// There are too many.
    Surplus,
    /// It was made from another template.
    Outdated,
}

/// How a worker leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It is marked, and leaves when what it holds has left.
    Marked,
    /// It is deleted; it holds nothing.
    Deleted,
    /// It is deleted, and what it holds is lost: the scheduler can't be asked, and somebody wants it so.
    DeletedUnsafely,
}

/// The workers that are told to leave now.
#[derive(Debug, Default)]
pub(crate) struct Departures<'c, 'a> {
    /// Who, how and why.
    pub(crate) all: Vec<(&'c Worker<'a>, How, Why)>,
    /// How many are too many and stay, because the scheduler can't be asked.
    pub(crate) held: usize,
    /// They shall leave and stay, because no other worker can take their results.
    pub(crate) waiting: Vec<(&'c Worker<'a>, Why)>,
    /// How many more workers than wanted there may be: successors of workers that can't leave before.
    pub(crate) successors: usize,
    /// How many are outdated, of those that are not too many.
    pub(crate) outdated: usize,
}

impl<'c, 'a> Departures<'c, 'a> {
    /// Chooses among the workers of a group, of which so many are on their way out and replaced before they are gone.
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
            // It goes whether the scheduler can be asked or not.
            let how = if worker.may_hold_data {
                How::Marked
            } else {
                How::Deleted
            };
            departures.all.push((worker, how, Why::Notice));
        }
        let mut takers = wanted.takers(census, scheduler);
        let outdated = workers.iter().filter(|worker| wanted.is_outdated(worker)).count();
        let most = wanted.most(outdated);
        // Where no worker is wanted, none follows.
        let has_successor = wanted.replicas > 0 && workers.len() > most;
        let waits = |worker: &&Worker<'a>| {
            let takers = takers.as_ref().filter(|_| wanted.is_outdated(worker));
            takers.is_some_and(|takers| takers.are_missing_for(worker, has_successor))
        };
        let are_replaced = wanted.rolls() && wanted.replicas > 0;
        departures.successors = usize::from(are_replaced && workers.iter().any(waits));
        let surplus = workers.len().saturating_sub(most + departures.successors);
        if surplus + outdated > 0 {
            victims::sort(&mut workers, wanted);
        }
        let staying = workers.split_off(surplus);
        for worker in workers {
            let waits = takers
                .as_ref()
                .is_some_and(|takers| takers.are_missing_for(worker, false));
            departures.leave(worker, Why::Surplus, waits, wanted, scheduler, &mut takers);
        }
        if departures.held == 0 {
            for worker in rollout::next(&staying, wanted, replaced) {
                let waits = takers
                    .as_ref()
                    .is_some_and(|takers| takers.are_missing_for(worker, has_successor));
                departures.leave(worker, Why::Outdated, waits, wanted, scheduler, &mut takers);
            }
        }
        departures.outdated = staying.iter().filter(|worker| wanted.is_outdated(worker)).count();
        departures
    }

    /// Lets a worker leave, if it can.
    fn leave(
        &mut self,
        worker: &'c Worker<'a>,
        why: Why,
        waits: bool,
        wanted: &Wanted,
        scheduler: Scheduler<'_>,
        takers: &mut Option<Takers<'a>>,
    ) {
        let how = match scheduler {
            _ if !worker.may_hold_data => How::Deleted,
            Scheduler::Known(_) if waits => return self.waiting.push((worker, why)),
            Scheduler::Known(_) => How::Marked,
            Scheduler::Unreachable(_) if wanted.gives_up => How::DeletedUnsafely,
            Scheduler::Unreachable(_) | Scheduler::NotAsked => {
                self.held += usize::from(why == Why::Surplus);
                return;
            }
        };
        if let Some(takers) = takers {
            takers.leaves(&worker.standing);
        }
        self.all.push((worker, how, why));
    }

    /// Those that shall leave for this reason and stay, because no other worker can take their results.
    pub(crate) fn waiting(&self, why: Why) -> Vec<&'c Worker<'a>> {
        let waiting = self.waiting.iter().filter(|(_, because)| *because == why);
        waiting.map(|(worker, _)| *worker).collect()
    }

    /// Those that leave in this way.
    pub(crate) fn by(&self, how: How) -> impl Iterator<Item = &'c Worker<'a>> {
        self.all
            .iter()
            .filter(move |(_, by, _)| *by == how)
            .map(|(worker, _, _)| *worker)
    }

    /// How many leave for this reason.
    pub(crate) fn count(&self, why: Why) -> usize {
        self.all.iter().filter(|(_, _, because)| *because == why).count()
    }
}
