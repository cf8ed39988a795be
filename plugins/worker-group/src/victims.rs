//! Which workers leave first.

use std::cmp::Reverse;

use crate::census::Worker;
use crate::roster::Standing;
use crate::wanted::Wanted;

/// How much is lost with a worker, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// It never was one, and has no node yet.
    Unscheduled,
    /// It never was one.
    NeverStarted,
    /// It runs, and the scheduler does not know it.
    Unregistered,
    /// It has nothing to do.
    Idle,
    /// It works, or nobody knows.
    Busy,
}

impl Class {
    fn of(worker: &Worker<'_>) -> Self {
        match &worker.standing {
            _ if !worker.may_hold_data && !worker.scheduled => Self::Unscheduled,
            _ if !worker.may_hold_data => Self::NeverStarted,
            Standing::Unregistered => Self::Unregistered,
            Standing::Registered(_) if worker.standing.processing() == 0 => Self::Idle,
            Standing::Registered(_) | Standing::Unclear | Standing::Unknown => Self::Busy,
        }
    }
}

/// Puts those first with whom the least is lost: who never was a worker, who is none for the scheduler, who is outdated and
/// will be replaced anyway (its results would otherwise move twice), who is idle, who holds least; then who is outdated,
/// who is newest, and whose name comes first.
pub(crate) fn sort(workers: &mut [&Worker<'_>], wanted: &Wanted) {
    workers.sort_by_cached_key(|worker| {
        let class = Class::of(worker);
        let is_outdated = wanted.is_outdated(worker);
        (
            class.min(Class::Idle),
            !(is_outdated && wanted.rolls()),
            class,
            worker.standing.bytes(),
            !is_outdated,
            Reverse(worker.created),
            worker.name().to_owned(),
        )
    });
}
