//! Selection of outdated workers that are replaced.

use dask_operator_plugin::dask::update::Strategy;

use crate::desired::Desired;
use crate::observed::Worker;
use crate::registration::Registration;

/// Returns the outdated workers that may leave now, without surplus ones. `staying` is in the order in which they leave.
///
/// Workers that are not ready leave immediately, because that reduces no capacity. Of the others, only as many leave as the
/// update strategy allows to be unavailable. New workers that do not become ready, or that the scheduler does not know,
/// therefore stop the rollout. For each retiring worker that is replaced before it is gone (`replaced`), one less leaves, so
/// that their number does not grow.
pub(crate) fn next<'c, 'a>(
    staying: &[&'c Worker<'a>],
    desired: &Desired,
    replaced: usize,
) -> Vec<&'c Worker<'a>> {
    let Strategy::Rolling {
        max_unavailable,
        max_surge,
    } = desired.strategy
    else {
        return Vec::new();
    };
    let (outdated, updated): (Vec<&'c Worker<'a>>, Vec<_>) =
        staying.iter().partition(|worker| desired.is_outdated(worker));
    let (ready, mut going): (Vec<&'c Worker<'a>>, Vec<_>) =
        outdated.into_iter().partition(|worker| worker.ready);
    let available = staying.iter().filter(|worker| worker.available()).count();
    let budget = available.saturating_sub(desired.replicas.saturating_sub(max_unavailable) + replaced);

    // Outdated workers that never registered may have the problem that the new template solves, so the rollout does not
    // wait for them. It does wait for missing and unregistered new workers.
    let useless = ready
        .iter()
        .filter(|worker| matches!(worker.registration, Registration::Unregistered))
        .count();
    let missing = desired
        .replicas
        .saturating_add(max_surge)
        .saturating_sub(staying.len());
    let waiting = updated.iter().filter(|worker| !worker.available()).count();
    let pace = max_unavailable
        .saturating_add(max_surge)
        .saturating_sub(missing.saturating_add(waiting + going.len()))
        .min(useless);

    going.extend(ready.into_iter().take(budget.max(pace)));
    going
}

/// Returns the number of workers that may be created now. The successor of an outdated worker is created after that one is
/// gone, unless the strategy allows a surge. `counted` is the number of staying workers, `outgoing` that of outdated workers
/// that are leaving, without those that are replaced before they are gone.
pub(crate) fn allowed(desired: &Desired, counted: usize, outgoing: usize) -> usize {
    match desired.strategy {
        Strategy::Rolling { max_surge, .. } if outgoing > 0 => {
            let max_workers = desired.replicas.saturating_add(max_surge);
            max_workers.saturating_sub(counted + outgoing)
        }
        Strategy::Rolling { .. } | Strategy::OnDelete => usize::MAX,
    }
}
