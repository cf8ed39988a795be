//! What a group shall be.

use dask_operator_plugin::dask::metadata::RESTARTED_AT;
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::time;
use dask_operator_plugin::dask::update::{self, ScaleDown, Strategy};
use dask_operator_plugin::prelude::*;

use crate::census::{Census, Worker};
use crate::roster::Scheduler;
use crate::silence::Silence;
use crate::takers::Takers;
use crate::template;

/// What a group shall be, from its `spec.worker` and its cluster.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// How many workers there shall be.
    pub(crate) replicas: usize,
    /// For how long the scheduler could not be asked, where workers leave all the same in the end.
    pub(crate) silence: Option<Silence>,
    /// That time is over.
    pub(crate) gives_up: bool,
    /// Milliseconds that a worker has to hand on what it holds.
    pub(crate) drain_timeout: i64,
    /// Workers leave only when another can take their results.
    pub(crate) moves_results: bool,
    /// How those are replaced that are outdated.
    pub(crate) strategy: Strategy,
    /// What new workers are made from.
    pub(crate) template_hash: String,
    /// Workers that are older than this, and were not made for it, are outdated.
    pub(crate) restarted_at: Option<Timestamp>,
    /// A time that is still to come and will be `restarted_at`.
    pub(crate) restart_at: Option<Timestamp>,
}

impl Wanted {
    /// Reads a group and its cluster, both after defaulting.
    pub(crate) fn of(
        group: &Resource<'_>,
        cluster: &Resource<'_>,
        scheduler: Scheduler<'_>,
        now: Timestamp,
    ) -> Self {
        let worker = &group.spec["worker"];
        let scale_down = ScaleDown::of(worker);
        let silence = Silence::of(group, scale_down, scheduler, now);
        let replicas = resource::replicas(worker) as usize;
        let restarts = [group, cluster].map(|resource| {
            let annotation = &resource.object["metadata"]["annotations"][RESTARTED_AT];
            annotation.as_str().and_then(time::parse)
        });
        let restarts = || restarts.into_iter().flatten();
        Self {
            replicas,
            silence,
            gives_up: silence.is_some_and(|silence| silence.ends() <= now),
            drain_timeout: update::drain_timeout(worker),
            moves_results: scale_down == ScaleDown::Drain,
            strategy: Strategy::of(worker, replicas),
            template_hash: template::hash(group),
            restarted_at: restarts().filter(|time| *time <= now).max(),
            restart_at: restarts().filter(|time| *time > now).min(),
        }
    }

    /// Whether a worker is to be replaced by one of the present template. Who made those without a hash is not known,
    /// so they are left alone, unless somebody says so.
    pub(crate) fn is_outdated(&self, worker: &Worker<'_>) -> bool {
        // The clocks of who says it and of who notes when a worker was made may differ.
        let restart = self.restarted_at.zip(worker.restarted_at.or(worker.created));
        let other = worker
            .template_hash
            .as_ref()
            .is_some_and(|hash| *hash != self.template_hash);
        other || restart.is_some_and(|(restarted_at, created)| created < restarted_at)
    }

    /// Whether a worker that was told to leave leaves for being outdated, and not because its node goes.
    pub(crate) fn is_outgoing(&self, worker: &Worker<'_>) -> bool {
        self.rolls() && self.is_outdated(worker) && worker.notice.is_none()
    }

    /// Whether a worker that was told to leave stays until another has taken its results, however long that takes. An outdated
    /// worker works as well as before: a rollout is no reason to lose results.
    pub(crate) fn keeps_results(&self, worker: &Worker<'_>) -> bool {
        self.moves_results && self.is_outgoing(worker) && worker.standing.bytes() > 0
    }

    /// Workers that can take the results of others, where that matters.
    pub(crate) fn takers<'a>(&self, census: &Census<'a>, scheduler: Scheduler<'a>) -> Option<Takers<'a>> {
        Takers::of(census, scheduler).filter(|_| self.moves_results)
    }

    /// Whether outdated workers are replaced.
    pub(crate) fn rolls(&self) -> bool {
        matches!(self.strategy, Strategy::Rolling { .. })
    }

    /// How many workers there may be while so many of them are outdated.
    pub(crate) fn most(&self, outdated: usize) -> usize {
        match self.strategy {
            Strategy::Rolling { max_surge, .. } if self.replicas > 0 => {
                self.replicas.saturating_add(outdated.min(max_surge))
            }
            Strategy::Rolling { .. } | Strategy::OnDelete => self.replicas,
        }
    }
}
