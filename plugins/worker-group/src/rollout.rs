//! Which workers make room for those of a new template.

use dask_operator_plugin::dask::update::Strategy;

use crate::census::Worker;
use crate::roster::Standing;
use crate::wanted::Wanted;

/// Outdated workers that may leave now, of those that are not too many; `staying` is in the order in which they leave.
///
/// Who is not ready goes at once: nobody works less for it. Of the others only so many go that enough are left. New
/// workers that do not become ready, or that the scheduler does not know, hence stop it; and for each that is on its way
/// out and `replaced` before it is gone, one less goes, so that there are not more and more of them.
pub(crate) fn next<'c, 'a>(
    staying: &[&'c Worker<'a>],
    wanted: &Wanted,
    replaced: usize,
) -> Vec<&'c Worker<'a>> {
    let Strategy::Rolling {
        max_unavailable,
        max_surge,
    } = wanted.strategy
    else {
        return Vec::new();
    };
    let (outdated, updated): (Vec<&'c Worker<'a>>, Vec<_>) =
        staying.iter().partition(|worker| wanted.is_outdated(worker));
    let (ready, mut going): (Vec<&'c Worker<'a>>, Vec<_>) =
        outdated.into_iter().partition(|worker| worker.ready);
    let available = staying.iter().filter(|worker| worker.available()).count();
    let budget = available.saturating_sub(wanted.replicas.saturating_sub(max_unavailable) + replaced);

    // Outdated workers that never registered may be what the new template is to mend: they are no reason to wait for.
    // What is missing, or not a worker yet, is.
    let useless = ready
        .iter()
        .filter(|worker| matches!(worker.standing, Standing::Unregistered))
        .count();
    let missing = wanted
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

/// How many more workers there may be now: none takes the place of an outdated one before that is gone, unless there
/// may be more than wanted. `counted` are those that stay, `outgoing` those that are outdated and on their way out,
/// without those that are replaced before.
pub(crate) fn room(wanted: &Wanted, counted: usize, outgoing: usize) -> usize {
    match wanted.strategy {
        Strategy::Rolling { max_surge, .. } if outgoing > 0 => {
            let most = wanted.replicas.saturating_add(max_surge);
            most.saturating_sub(counted + outgoing)
        }
        Strategy::Rolling { .. } | Strategy::OnDelete => usize::MAX,
    }
}
