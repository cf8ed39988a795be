//! The order in which workers leave.

use std::cmp::Reverse;

use crate::desired::Desired;
use crate::observed::Worker;
use crate::registration::Registration;

/// The cost of losing a worker, the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// The worker never started and has no node.
    Unscheduled,
    /// The worker never started.
    NeverStarted,
    /// The worker runs, but the scheduler does not know it.
    Unregistered,
    /// The worker has no tasks.
    Idle,
    /// The worker has tasks, or its registration is unknown.
    Busy,
}

impl Class {
    fn of(worker: &Worker<'_>) -> Self {
        match &worker.registration {
            _ if !worker.may_hold_data && !worker.scheduled => Self::Unscheduled,
            _ if !worker.may_hold_data => Self::NeverStarted,
            Registration::Unregistered => Self::Unregistered,
            Registration::Registered(_) if worker.registration.processing() == 0 => Self::Idle,
            Registration::Registered(_) | Registration::Unclear | Registration::Unknown => Self::Busy,
        }
    }
}

/// Sorts workers so that those with the lowest cost come first: workers that never started, then unregistered ones, outdated
/// ones that a rollout will replace (their results would otherwise move twice), idle ones, and those with the least results.
/// Among equals, outdated workers come first, then the newest, then the order of names.
pub(crate) fn sort(workers: &mut [&Worker<'_>], desired: &Desired) {
    workers.sort_by_cached_key(|worker| {
        let class = Class::of(worker);
        let is_outdated = desired.is_outdated(worker);
        (
            class.min(Class::Idle),
            !(is_outdated && desired.is_rolling()),
            class,
            worker.registration.bytes(),
            !is_outdated,
            Reverse(worker.created),
            worker.name().to_owned(),
        )
    });
}
