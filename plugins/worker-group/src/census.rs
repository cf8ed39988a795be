//! Which workers there are, and in what state.

use std::collections::{BTreeMap, HashMap};

use dask_operator_plugin::dask::backoff::{Backoff, EarlyEnd};
use dask_operator_plugin::dask::metadata::{Metadata, RESTARTED_AT, RETIRING_SINCE, TEMPLATE_HASH};
use dask_operator_plugin::dask::pod::{Cause, Pod};
use dask_operator_plugin::dask::workload::DeploymentState;
use dask_operator_plugin::dask::{kinds, time};
use dask_operator_plugin::prelude::*;

use crate::notices::Notices;
use crate::roster::{self, Reach, Scheduler, Standing};
use crate::takers::Takers;

/// A worker that exists.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    /// As it was observed.
    pub(crate) observed: &'a ObservedObject,
    /// Its pod, unless it is a Deployment's.
    pub(crate) pod: Option<Pod>,
    /// Whether its pod is ready.
    pub(crate) ready: bool,
    /// Whether it may be a worker already, with results that nobody else has. Only a pod whose containers were never
    /// started is none for sure, and only while the scheduler does not list it: a pod's status lags behind.
    pub(crate) may_hold_data: bool,
    /// Whether it was given a node.
    pub(crate) scheduled: bool,
    /// When it was created.
    pub(crate) created: Option<Timestamp>,
    /// The restart of the group that it was made for; none where there was none.
    pub(crate) restarted_at: Option<Timestamp>,
    /// Since when it has to leave.
    pub(crate) retiring_since: Option<Timestamp>,
    /// It was told to leave and no longer has to: its mark is taken off.
    pub(crate) called_back: bool,
    /// What it was made from; none where another release made it.
    pub(crate) template_hash: Option<String>,
    /// Why it is about to lose its node, if it is.
    pub(crate) notice: Option<String>,
    /// What the scheduler says of it.
    pub(crate) standing: Standing<'a>,
    /// What keeps it from being ready.
    trouble: Option<Cause>,
}

impl<'a> Worker<'a> {
    /// It as it is, but with these labels and annotations. A Deployment would replace its pod for them.
    pub(crate) fn kept_with(&self, metadata: &Metadata) -> DesiredChild {
        match &self.pod {
            _ if self.called_back => {
                DesiredChild::apply(self.observed.key.clone(), json!({"metadata": metadata.to_json()}))
            }
            Some(pod) => pod.kept_with(self.observed, metadata),
            None => DesiredChild::keep(self.observed),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'a str {
        &self.observed.key.name
    }

    /// Whether it is ready, and a worker as far as the scheduler says something.
    pub(crate) fn available(&self) -> bool {
        self.ready && !matches!(self.standing, Standing::Unregistered)
    }
}

/// A worker that is over and will not come back by itself.
#[derive(Debug)]
pub(crate) struct Lost<'a> {
    /// As it was observed.
    pub(crate) observed: &'a ObservedObject,
    /// How it ended, if it did so soon after it was made from the present template.
    pub(crate) early: Option<EarlyEnd>,
    /// Why it is over.
    pub(crate) cause: Cause,
}

/// A worker that is being deleted.
#[derive(Debug)]
pub(crate) struct Terminating<'a> {
    /// As it was observed.
    pub(crate) observed: &'a ObservedObject,
    /// Whether it may be a worker still, for as long as its grace period lasts.
    pub(crate) may_hold_data: bool,
    /// What the scheduler says of it.
    pub(crate) standing: Standing<'a>,
}

/// All workers of a group.
#[derive(Debug, Default)]
pub(crate) struct Census<'a> {
    /// Those that count.
    pub(crate) workers: Vec<Worker<'a>>,
    /// Those that were told to leave; they don't count.
    pub(crate) leaving: Vec<Worker<'a>>,
    /// Those that are on their way out; they don't count, but their names are taken.
    pub(crate) terminating: Vec<Terminating<'a>>,
    /// Those that are to be replaced. Each holds its place until it is gone, so that whoever decides from an old view
    /// decides the same again.
    pub(crate) lost: Vec<Lost<'a>>,
    /// What is remembered of workers that ended soon after their start.
    pub(crate) backoff: Option<Backoff>,
    /// People have not been told of that yet.
    pub(crate) backoff_is_news: bool,
    /// Until when workers that ended soon after their start keep their places.
    pub(crate) rests_until: Option<Timestamp>,
    /// When it will have taken one of them too long to start, if none is known to have started by then.
    pub(crate) look_again_at: Option<Timestamp>,
}

impl<'a> Census<'a> {
    /// Counts the children of an observation. `template_hash` is that of new workers, `status` the group's.
    pub(crate) fn of(
        observation: &'a Observation,
        scheduler: Scheduler<'a>,
        notices: &Notices,
        template_hash: &str,
        status: &Value,
    ) -> Result<Self, Error> {
        let now = observation.now;
        let mut census = Self::default();
        let mut reaches: Vec<(&str, Reach)> = Vec::new();
        for observed in observation.children_of(&kinds::pod()) {
            let pod = Pod::of(observed)?;
            let reach = match pod.is_on_host_network() {
                true => Reach::Node(pod.addresses()),
                false => Reach::Own(pod.addresses()),
            };
            let retiring_since = pod.annotation(RETIRING_SINCE).and_then(time::parse);
            if observed.terminating {
                census.terminating.push(Terminating {
                    observed,
                    may_hold_data: pod.has_run() && !pod.is_over(),
                    standing: Standing::Unknown,
                });
            } else if pod.is_over() {
                // Who had to leave anyway is not replaced.
                if retiring_since.is_none() {
                    let cause = pod
                        .trouble(now)
                        .unwrap_or_else(|| Cause::reported(pod.phase(), ""));
                    // Another template may have mended it.
                    let is_present = pod
                        .annotation(TEMPLATE_HASH)
                        .is_none_or(|hash| hash == template_hash);
                    census.lost.push(Lost {
                        observed,
                        early: EarlyEnd::of(&pod).filter(|_| is_present),
                        cause,
                    });
                }
                continue;
            } else {
                let look_again_at = census.look_again_at.into_iter().chain(pod.look_again_at(now));
                census.look_again_at = look_again_at.min();
                census.add(Worker {
                    observed,
                    ready: pod.is_ready(),
                    may_hold_data: pod.has_run(),
                    scheduled: pod.node().is_some(),
                    created: pod.created,
                    restarted_at: pod.annotation(RESTARTED_AT).and_then(time::parse),
                    retiring_since,
                    called_back: false,
                    template_hash: pod.annotation(TEMPLATE_HASH).map(str::to_owned),
                    notice: notices.about(&pod),
                    standing: Standing::Unknown,
                    trouble: pod.trouble(now),
                    pod: Some(pod),
                });
            }
            reaches.push((&observed.key.name, reach));
        }
        for observed in observation.children_of(&kinds::deployment()) {
            let deployment: DeploymentState = observed.read()?;
            if observed.terminating {
                census.terminating.push(Terminating {
                    observed,
                    may_hold_data: deployment.is_ready(),
                    standing: Standing::Unknown,
                });
            } else {
                let trouble = deployment.trouble().filter(|_| !deployment.is_ready());
                census.add(Worker {
                    observed,
                    pod: None,
                    ready: deployment.is_ready(),
                    may_hold_data: true,
                    scheduled: true,
                    created: deployment.created(),
                    restarted_at: deployment.annotation(RESTARTED_AT).and_then(time::parse),
                    retiring_since: deployment.annotation(RETIRING_SINCE).and_then(time::parse),
                    called_back: false,
                    template_hash: deployment.annotation(TEMPLATE_HASH).map(str::to_owned),
                    notice: None,
                    standing: Standing::Unknown,
                    trouble,
                });
            }
            reaches.push((&observed.key.name, Reach::Anywhere));
        }
        census.ask(scheduler, &reaches);
        let ends = census.lost.iter().filter_map(|lost| lost.early.as_ref());
        if let Some((backoff, is_news)) = Backoff::after(status, ends, now) {
            census.rests_until = backoff.rests_until(now);
            census.backoff_is_news = is_news;
            census.backoff = Some(backoff);
        }
        Ok(census)
    }

    fn add(&mut self, worker: Worker<'a>) {
        match worker.retiring_since {
            None => self.workers.push(worker),
            Some(_) => self.leaving.push(worker),
        }
    }

    /// Notes what the scheduler says of each.
    fn ask(&mut self, scheduler: Scheduler<'a>, reaches: &[(&str, Reach)]) {
        let standings = roster::standings(scheduler, reaches);
        let names = reaches.iter().map(|(name, _)| *name);
        let mut standings: HashMap<&str, Standing<'a>> = names.zip(standings).collect();
        let mut take = |name: &str| standings.remove(name).unwrap_or_default();
        for worker in self.workers.iter_mut().chain(&mut self.leaving) {
            worker.standing = take(worker.name());
            worker.may_hold_data |= worker.standing.may_be_a_worker();
        }
        for terminating in &mut self.terminating {
            terminating.standing = take(&terminating.observed.key.name);
            terminating.may_hold_data |= terminating.standing.may_be_a_worker();
        }
    }

    /// Takes back what workers were told that hold results which no other worker can take: they count again, as if they
    /// had never been told to leave. Who is about to lose its node leaves all the same.
    pub(crate) fn call_back(&mut self, takers: &Takers<'_>) {
        let is_called_back =
            |worker: &mut Worker<'_>| worker.notice.is_none() && takers.are_missing_for(worker, false);
        let called_back = self.leaving.extract_if(.., is_called_back);
        self.workers.extend(called_back.map(|worker| Worker {
            retiring_since: None,
            called_back: true,
            ..worker
        }));
    }

    /// Those that are over and stay for a moment.
    pub(crate) fn resting(&self) -> impl Iterator<Item = &Lost<'a>> {
        let rests = self.rests_until.is_some();
        self.lost.iter().filter(move |lost| rests && lost.early.is_some())
    }

    /// How many workers are ready.
    pub(crate) fn ready(&self) -> usize {
        self.workers.iter().filter(|worker| worker.ready).count()
    }

    /// How many are on their way.
    pub(crate) fn starting(&self) -> usize {
        self.workers.len() - self.ready()
    }

    /// When the newest worker was created.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.workers.iter().filter_map(|worker| worker.created).max()
    }

    /// The trouble that most workers have, and how many have it; among equals the first by name.
    pub(crate) fn trouble(&self) -> Option<(usize, &Cause)> {
        let mut troubles: BTreeMap<&str, (usize, &Cause)> = BTreeMap::new();
        let waiting = self.workers.iter().filter(|worker| !worker.ready);
        for cause in waiting
            .filter_map(|worker| worker.trouble.as_ref())
            .chain(self.resting().map(|lost| &lost.cause))
        {
            troubles.entry(&cause.reason).or_insert((0, cause)).0 += 1;
        }
        troubles.into_values().rev().max_by_key(|(count, _)| *count)
    }
}
