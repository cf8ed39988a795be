//! Outages of the scheduler, and the time after which workers are deleted without it.

use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::dask::update::ScaleDownMode;
use dask_operator_plugin::prelude::*;

use crate::registration::Scheduler;

/// Milliseconds without a reply after which the scheduler is ignored if `scaleDown` is `unsafe`. A single missing reply only
/// shows that the scheduler is busy, or that the network failed for a moment.
pub(crate) const OUTAGE_TIMEOUT: i64 = 30_000;

/// Field of the status with the start of the outage.
const SINCE: &str = "schedulerUnreachableSince";

/// An outage of the scheduler of a group with `scaleDown: unsafe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    since: Timestamp,
}

impl Outage {
    /// Reads the outage from the status and the scheduler's state. It continues until the scheduler is queried again, because
    /// an operator that has just started has no newer information. `None` if `scaleDown` is not `unsafe`, so that workers wait
    /// for the scheduler without a limit.
    pub(crate) fn of(
        group: &Resource<'_>,
        scale_down: ScaleDownMode,
        scheduler: Scheduler<'_>,
        now: Timestamp,
    ) -> Option<Self> {
        let before = group.status[SINCE].as_str().and_then(time::parse);
        let since = match scheduler {
            _ if scale_down != ScaleDownMode::Unsafe => None,
            Scheduler::Known(_) => None,
            Scheduler::NotQueried => before,
            Scheduler::Unreachable(_) => Some(before.map_or(now, |before| before.min(now))),
        };
        since.map(|since| Self { since })
    }

    /// Returns the time from which on the scheduler is ignored.
    pub(crate) fn ends(self) -> Timestamp {
        self.since.saturating_add(OUTAGE_TIMEOUT)
    }

    /// Writes the start of the outage to a status.
    pub(crate) fn write(self, status: &mut Value) {
        status[SINCE] = json!(time::format(self.since));
    }
}
