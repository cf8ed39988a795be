//! The desired state of a group.

use dask_operator_plugin::dask::metadata::ANNOTATION_RESTARTED_AT;
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::update::{self, ScaleDownMode, Strategy};
use dask_operator_plugin::dask::{fields, hash, time};
use dask_operator_plugin::prelude::*;

use crate::observed::{ObservedWorkers, Worker};
use crate::registration::Scheduler;
use crate::silence::Outage;
use crate::takers::Recipients;

/// The desired state of a group, from its `spec.worker` and its cluster.
#[derive(Debug)]
pub(crate) struct Desired {
    /// Desired number of workers.
    pub(crate) replicas: usize,
    /// The scheduler's outage, if `scaleDown` is `unsafe`. `None` otherwise.
    pub(crate) outage: Option<Outage>,
    /// True if the outage has lasted so long that workers are deleted without the scheduler.
    pub(crate) ignores_scheduler: bool,
    /// Milliseconds that a worker has to move its results.
    pub(crate) drain_timeout: i64,
    /// True if workers leave only after others have taken their results.
    pub(crate) moves_results: bool,
    /// The update strategy.
    pub(crate) strategy: Strategy,
    /// The hash of the present template.
    pub(crate) template_hash: String,
    /// Time of the last requested restart. Workers that are older and were not created for it are outdated.
    pub(crate) restarted_at: Option<Timestamp>,
    /// Time of the next requested restart, which is in the future.
    pub(crate) restart_at: Option<Timestamp>,
}

impl Desired {
    /// Reads a group and its cluster, both after defaulting.
    pub(crate) fn of(
        group: &Resource<'_>,
        cluster: &Resource<'_>,
        scheduler: Scheduler<'_>,
        now: Timestamp,
    ) -> Self {
        let worker = &group.spec[fields::worker_group::WORKER];
        let scale_down = ScaleDownMode::of(worker);
        let outage = Outage::of(group, scale_down, scheduler, now);
        let replicas = resource::replicas(worker) as usize;
        let restarts = [group, cluster].map(|resource| {
            let annotation = &resource.object["metadata"]["annotations"][ANNOTATION_RESTARTED_AT];
            annotation.as_str().and_then(time::parse)
        });
        let restarts = || restarts.into_iter().flatten();
        Self {
            replicas,
            outage,
            ignores_scheduler: outage.is_some_and(|outage| outage.ends() <= now),
            drain_timeout: update::drain_timeout(worker),
            moves_results: scale_down == ScaleDownMode::Drain,
            strategy: Strategy::of(worker, replicas),
            template_hash: template_hash(group),
            restarted_at: restarts().filter(|time| *time <= now).max(),
            restart_at: restarts().filter(|time| *time > now).min(),
        }
    }

    /// Returns whether a worker must be replaced by one of the present template. Workers without a hash were created by another
    /// release or another tool. They are up to date unless a user requests a restart.
    pub(crate) fn is_outdated(&self, worker: &Worker<'_>) -> bool {
        // The clock of the user who requests a restart may differ from the API server's, which sets the creation time.
        let restart = self.restarted_at.zip(worker.restarted_at.or(worker.created));
        let other = worker
            .template_hash
            .as_ref()
            .is_some_and(|hash| *hash != self.template_hash);
        other || restart.is_some_and(|(restarted_at, created)| created < restarted_at)
    }

    /// Returns whether a retiring worker leaves because it is outdated, and not because it loses its node.
    pub(crate) fn is_outgoing(&self, worker: &Worker<'_>) -> bool {
        self.is_rolling() && self.is_outdated(worker) && worker.disruption.is_none()
    }

    /// Returns whether a retiring worker stays until another one has taken its results, without a deadline. An outdated worker
    /// is still useful, so a rollout must not lose results.
    pub(crate) fn keeps_results(&self, worker: &Worker<'_>) -> bool {
        self.moves_results && self.is_outgoing(worker) && worker.registration.bytes() > 0
    }

    /// Returns the workers that can receive results. `None` if they are unknown or results need not move.
    pub(crate) fn recipients<'a>(
        &self,
        observed_workers: &ObservedWorkers<'a>,
        scheduler: Scheduler<'a>,
    ) -> Option<Recipients<'a>> {
        Recipients::of(observed_workers, scheduler).filter(|_| self.moves_results)
    }

    /// Returns whether outdated workers are replaced.
    pub(crate) fn is_rolling(&self) -> bool {
        matches!(self.strategy, Strategy::Rolling { .. })
    }

    /// Returns the maximum number of workers while `outdated` of them are outdated.
    pub(crate) fn max_workers(&self, outdated: usize) -> usize {
        match self.strategy {
            Strategy::Rolling { max_surge, .. } if self.replicas > 0 => {
                self.replicas.saturating_add(outdated.min(max_surge))
            }
            Strategy::Rolling { .. } | Strategy::OnDelete => self.replicas,
        }
    }
}

/// Returns the hash of a worker's spec, after defaulting, because the webhook stores it in that form. Workers with another
/// hash are outdated. Labels and annotations are excluded, because they can be changed on an existing pod. Additions by the
/// operator (names, addresses, environment) are excluded too, so that a new release of it does not make workers outdated.
pub(crate) fn template_hash(group: &Resource<'_>) -> String {
    hash::of(&group.spec[fields::worker_group::WORKER][fields::template::SPEC])
}
