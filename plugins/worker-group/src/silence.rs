//! A scheduler that can't be asked, and for how long.

use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::dask::update::ScaleDown;
use dask_operator_plugin::prelude::*;

use crate::roster::Scheduler;

/// A scheduler that does not answer for so many milliseconds is given up, where `scaleDown` is `unsafe`. One answer that
/// does not come says only that it is busy, or that the network hiccuped.
pub(crate) const GIVE_UP: i64 = 30_000;

/// Where the status remembers it.
const SINCE: &str = "schedulerUnreachableSince";

/// Since when the scheduler could not be asked, of a group whose workers leave all the same in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silence {
    since: Timestamp,
}

impl Silence {
    /// As the status remembers it and the scheduler is now. It goes on until the scheduler was asked again: whoever has
    /// just started knows no better. None where workers wait for the scheduler however long it takes.
    pub(crate) fn of(
        group: &Resource<'_>,
        scale_down: ScaleDown,
        scheduler: Scheduler<'_>,
        now: Timestamp,
    ) -> Option<Self> {
        let before = group.status[SINCE].as_str().and_then(time::parse);
        let since = match scheduler {
            _ if scale_down != ScaleDown::Unsafe => None,
            Scheduler::Known(_) => None,
            Scheduler::NotAsked => before,
            Scheduler::Unreachable(_) => Some(before.map_or(now, |before| before.min(now))),
        };
        since.map(|since| Self { since })
    }

    /// When the scheduler is given up.
    pub(crate) fn ends(self) -> Timestamp {
        self.since.saturating_add(GIVE_UP)
    }

    /// Remembers it.
    pub(crate) fn write(self, status: &mut Value) {
        status[SINCE] = json!(time::format(self.since));
    }
}
