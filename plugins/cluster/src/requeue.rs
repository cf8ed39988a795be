//! Requeue of the cluster.

use dask_operator_plugin::prelude::*;

/// Requests a requeue after this many milliseconds, unless the plan already requests an earlier one.
pub(crate) fn requeue_within(plan: &mut Plan, milliseconds: u64) {
    let sooner = plan
        .requeue_after
        .map_or(milliseconds, |other| other.min(milliseconds));
    plan.requeue_after = Some(sooner);
}
