//! The workers of a group and their states, read from its children.

use std::collections::{BTreeMap, HashMap};

use dask_operator_plugin::dask::backoff::{EarlyEnd, PodBackoff};
use dask_operator_plugin::dask::metadata::{
    ANNOTATION_RESTARTED_AT, ANNOTATION_RETIRING_SINCE, ANNOTATION_TEMPLATE_HASH, Metadata,
};
use dask_operator_plugin::dask::pod::{Cause, Pod};
use dask_operator_plugin::dask::workload::DeploymentState;
use dask_operator_plugin::dask::{kinds, time};
use dask_operator_plugin::prelude::*;

use crate::disruptions::Disruptions;
use crate::registration::{self, Location, Registration, Scheduler};

/// A worker that exists and is not being deleted.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    /// The observed Pod or Deployment.
    pub(crate) observed: &'a ObservedObject,
    /// Pod of the worker. `None` for Deployments.
    pub(crate) pod: Option<Pod>,
    /// True if its pod is ready.
    pub(crate) ready: bool,
    /// True if it may already have results that no other worker has. False only for a pod whose containers never started,
    /// and which the scheduler does not list, because a pod's status lags behind.
    pub(crate) may_hold_data: bool,
    /// True if its pod has a node.
    pub(crate) scheduled: bool,
    /// Creation time.
    pub(crate) created: Option<Timestamp>,
    /// Time of the group restart that it was created for. `None` if there was none.
    pub(crate) restarted_at: Option<Timestamp>,
    /// Time since which it is marked as retiring. `None` for other workers.
    pub(crate) retiring_since: Option<Timestamp>,
    /// True if it was marked as retiring and need not leave any more. Its mark is removed.
    pub(crate) reinstated: bool,
    /// Hash of its template. `None` if another release created it.
    pub(crate) template_hash: Option<String>,
    /// The reason why it is about to lose its node. `None` if it keeps it.
    pub(crate) disruption: Option<String>,
    /// The worker's registration with the scheduler.
    pub(crate) registration: Registration<'a>,
    /// The problem that keeps it from becoming ready, if any.
    problem: Option<Cause>,
}

impl<'a> Worker<'a> {
    /// Returns the worker as a child, with these labels and annotations. A Deployment is left alone, because it would replace
    /// its pod for them.
    pub(crate) fn kept_with(&self, metadata: &Metadata) -> DesiredChild {
        match &self.pod {
            _ if self.reinstated => {
                DesiredChild::apply(self.observed.key.clone(), json!({"metadata": metadata.to_json()}))
            }
            Some(pod) => pod.kept_with(self.observed, metadata),
            None => DesiredChild::keep(self.observed),
        }
    }

    /// Returns the name of its Pod or Deployment.
    pub(crate) fn name(&self) -> &'a str {
        &self.observed.key.name
    }

    /// Returns whether it is ready and not known to be unregistered.
    pub(crate) fn available(&self) -> bool {
        self.ready && !matches!(self.registration, Registration::Unregistered)
    }
}

/// A worker that has ended and will not restart by itself.
#[derive(Debug)]
pub(crate) struct Lost<'a> {
    /// The observed Pod.
    pub(crate) observed: &'a ObservedObject,
    /// End of the worker, if it was created from the present template and ended soon after its start.
    pub(crate) early: Option<EarlyEnd>,
    /// The cause of its end.
    pub(crate) cause: Cause,
}

/// A worker that is being deleted.
#[derive(Debug)]
pub(crate) struct Terminating<'a> {
    /// The observed Pod or Deployment.
    pub(crate) observed: &'a ObservedObject,
    /// True if it may still have results, until its grace period ends.
    pub(crate) may_hold_data: bool,
    /// The worker's registration with the scheduler.
    pub(crate) registration: Registration<'a>,
}

/// All workers of a group.
#[derive(Debug, Default)]
pub(crate) struct ObservedWorkers<'a> {
    /// Workers that count as replicas.
    pub(crate) workers: Vec<Worker<'a>>,
    /// Workers that are marked as retiring. They do not count as replicas.
    pub(crate) leaving: Vec<Worker<'a>>,
    /// Workers that are being deleted. They do not count as replicas, but their names are in use.
    pub(crate) terminating: Vec<Terminating<'a>>,
    /// Workers that will be replaced. Each one counts as a replica until it is gone, so that a plan from an outdated
    /// observation decides in the same way.
    pub(crate) lost: Vec<Lost<'a>>,
    /// Back-off for workers that ended soon after their start. `None` without such workers.
    pub(crate) backoff: Option<PodBackoff>,
    /// True if the back-off was not reported yet.
    pub(crate) backoff_is_new: bool,
    /// Time until which workers that ended soon after their start are not replaced. `None` without a back-off.
    pub(crate) backoff_until: Option<Timestamp>,
    /// Time at which a starting worker counts as too slow, unless it has started by then.
    pub(crate) requeue_at: Option<Timestamp>,
}

impl<'a> ObservedWorkers<'a> {
    /// Reads the children of an observation. `template_hash` is that of new workers, `status` that of the group.
    pub(crate) fn of(
        observation: &'a Observation,
        scheduler: Scheduler<'a>,
        disruptions: &Disruptions,
        template_hash: &str,
        status: &Value,
    ) -> Result<Self, Error> {
        let now = observation.now;
        let mut observed_workers = Self::default();
        let mut locations: Vec<(&str, Location)> = Vec::new();
        for observed in observation.children_of(&kinds::pod()) {
            let pod = Pod::of(observed)?;
            let location = match pod.is_on_host_network() {
                true => Location::Node(pod.addresses()),
                false => Location::Own(pod.addresses()),
            };
            let retiring_since = pod.annotation(ANNOTATION_RETIRING_SINCE).and_then(time::parse);
            if observed.terminating {
                observed_workers.terminating.push(Terminating {
                    observed,
                    may_hold_data: pod.has_run() && !pod.is_over(),
                    registration: Registration::Unknown,
                });
            } else if pod.is_over() {
                // A worker that was marked as retiring is not replaced.
                if retiring_since.is_none() {
                    let cause = pod
                        .trouble(now)
                        .unwrap_or_else(|| Cause::reported(pod.phase(), ""));
                    // For other templates the back-off does not apply, because the present one may fix the problem.
                    let is_present = pod
                        .annotation(ANNOTATION_TEMPLATE_HASH)
                        .is_none_or(|hash| hash == template_hash);
                    observed_workers.lost.push(Lost {
                        observed,
                        early: EarlyEnd::of(&pod).filter(|_| is_present),
                        cause,
                    });
                }
                continue;
            } else {
                let requeue_at = observed_workers
                    .requeue_at
                    .into_iter()
                    .chain(pod.look_again_at(now));
                observed_workers.requeue_at = requeue_at.min();
                observed_workers.add(Worker {
                    observed,
                    ready: pod.is_ready(),
                    may_hold_data: pod.has_run(),
                    scheduled: pod.node().is_some(),
                    created: pod.created,
                    restarted_at: pod.annotation(ANNOTATION_RESTARTED_AT).and_then(time::parse),
                    retiring_since,
                    reinstated: false,
                    template_hash: pod.annotation(ANNOTATION_TEMPLATE_HASH).map(str::to_owned),
                    disruption: disruptions.about(&pod),
                    registration: Registration::Unknown,
                    problem: pod.trouble(now),
                    pod: Some(pod),
                });
            }
            locations.push((&observed.key.name, location));
        }
        for observed in observation.children_of(&kinds::deployment()) {
            let deployment: DeploymentState = observed.read()?;
            if observed.terminating {
                observed_workers.terminating.push(Terminating {
                    observed,
                    may_hold_data: deployment.is_ready(),
                    registration: Registration::Unknown,
                });
            } else {
                let problem = deployment.trouble().filter(|_| !deployment.is_ready());
                observed_workers.add(Worker {
                    observed,
                    pod: None,
                    ready: deployment.is_ready(),
                    may_hold_data: true,
                    scheduled: true,
                    created: deployment.created(),
                    restarted_at: deployment
                        .annotation(ANNOTATION_RESTARTED_AT)
                        .and_then(time::parse),
                    retiring_since: deployment
                        .annotation(ANNOTATION_RETIRING_SINCE)
                        .and_then(time::parse),
                    reinstated: false,
                    template_hash: deployment.annotation(ANNOTATION_TEMPLATE_HASH).map(str::to_owned),
                    disruption: None,
                    registration: Registration::Unknown,
                    problem,
                });
            }
            locations.push((&observed.key.name, Location::Unknown));
        }
        observed_workers.set_registrations(scheduler, &locations);
        let ends = observed_workers
            .lost
            .iter()
            .filter_map(|lost| lost.early.as_ref());
        if let Some((backoff, is_new)) = PodBackoff::after(status, ends, now) {
            observed_workers.backoff_until = backoff.rests_until(now);
            observed_workers.backoff_is_new = is_new;
            observed_workers.backoff = Some(backoff);
        }
        Ok(observed_workers)
    }

    fn add(&mut self, worker: Worker<'a>) {
        match worker.retiring_since {
            None => self.workers.push(worker),
            Some(_) => self.leaving.push(worker),
        }
    }

    /// Sets the registration of each worker.
    fn set_registrations(&mut self, scheduler: Scheduler<'a>, locations: &[(&str, Location)]) {
        let registrations = registration::registrations(scheduler, locations);
        let names = locations.iter().map(|(name, _)| *name);
        let mut registrations: HashMap<&str, Registration<'a>> = names.zip(registrations).collect();
        let mut take = |name: &str| registrations.remove(name).unwrap_or_default();
        for worker in self.workers.iter_mut().chain(&mut self.leaving) {
            worker.registration = take(worker.name());
            worker.may_hold_data |= worker.registration.may_be_a_worker();
        }
        for terminating in &mut self.terminating {
            terminating.registration = take(&terminating.observed.key.name);
            terminating.may_hold_data |= terminating.registration.may_be_a_worker();
        }
    }

    /// Returns the workers that are being deleted, as observed.
    pub(crate) fn terminating_objects(&self) -> impl Iterator<Item = &'a ObservedObject> {
        self.terminating.iter().map(|terminating| terminating.observed)
    }

    /// Returns the registrations of the workers that are being deleted.
    pub(crate) fn terminating_registrations(&self) -> impl Iterator<Item = &Registration<'a>> {
        self.terminating
            .iter()
            .map(|terminating| &terminating.registration)
    }

    /// Removes the marks of retiring workers that can't leave. They count as replicas again. Workers that are about to lose their
    /// node stay marked.
    pub(crate) fn reinstate(&mut self, cannot_leave: impl Fn(&Worker<'_>) -> bool) {
        let is_reinstated = |worker: &mut Worker<'_>| worker.disruption.is_none() && cannot_leave(worker);
        let reinstated = self.leaving.extract_if(.., is_reinstated);
        self.workers.extend(reinstated.map(|worker| Worker {
            retiring_since: None,
            reinstated: true,
            ..worker
        }));
    }

    /// Returns the ended workers that are not replaced yet because of the back-off.
    pub(crate) fn backing_off(&self) -> impl Iterator<Item = &Lost<'a>> {
        let is_backing_off = self.backoff_until.is_some();
        self.lost
            .iter()
            .filter(move |lost| is_backing_off && lost.early.is_some())
    }

    /// Returns the number of ready workers.
    pub(crate) fn ready(&self) -> usize {
        self.workers.iter().filter(|worker| worker.ready).count()
    }

    /// Returns the number of workers that are not ready.
    pub(crate) fn starting(&self) -> usize {
        self.workers.len() - self.ready()
    }

    /// Returns the creation time of the newest worker.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.workers.iter().filter_map(|worker| worker.created).max()
    }

    /// Returns the most frequent problem and the number of workers that have it. Ties are decided by name.
    pub(crate) fn most_common_problem(&self) -> Option<(usize, &Cause)> {
        let mut problems: BTreeMap<&str, (usize, &Cause)> = BTreeMap::new();
        let waiting = self.workers.iter().filter(|worker| !worker.ready);
        for cause in waiting
            .filter_map(|worker| worker.problem.as_ref())
            .chain(self.backing_off().map(|lost| &lost.cause))
        {
            problems.entry(&cause.reason).or_insert((0, cause)).0 += 1;
        }
        problems.into_values().rev().max_by_key(|(count, _)| *count)
    }
}
