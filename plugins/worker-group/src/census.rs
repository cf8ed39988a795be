//! Which workers there are, and in what state.

use std::collections::BTreeMap;

use dask_operator_plugin::dask::kinds;
use dask_operator_plugin::dask::pod::{Cause, Pod};
use dask_operator_plugin::dask::workload::DeploymentState;
use dask_operator_plugin::prelude::*;

/// A worker that exists and is wanted.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    /// As it was observed.
    pub(crate) observed: &'a ObservedObject,
    /// Whether its pod is ready.
    pub(crate) ready: bool,
    /// Whether it may be a worker already, with results that nobody else has. Only a pod whose containers were never
    /// started is none for sure.
    pub(crate) may_hold_data: bool,
    /// Whether it was given a node.
    pub(crate) scheduled: bool,
    /// When it was created.
    pub(crate) created: Option<Timestamp>,
    /// What keeps it from being ready.
    trouble: Option<Cause>,
}

/// A worker that is over and will not come back by itself.
#[derive(Debug)]
pub(crate) struct Lost<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Why it is over.
    pub(crate) cause: Cause,
}

/// All workers of a group.
#[derive(Debug, Default)]
pub(crate) struct Census<'a> {
    /// Those that count.
    pub(crate) workers: Vec<Worker<'a>>,
    /// Those that are on their way out; they don't count, but their names are taken.
    pub(crate) terminating: Vec<&'a ObservedObject>,
    /// Those that are to be replaced. Each holds its place until it is gone, so that whoever decides from an old view
    /// decides the same again.
    pub(crate) lost: Vec<Lost<'a>>,
}

impl<'a> Census<'a> {
    /// Counts the children of an observation.
    pub(crate) fn of(observation: &'a Observation) -> Result<Self, Error> {
        let mut census = Self::default();
        for observed in observation.children_of(&kinds::pod()) {
            if observed.terminating {
                census.terminating.push(observed);
                continue;
            }
            let pod = Pod::of(observed)?;
            let trouble = pod.trouble();
            match trouble {
                Some(cause) if pod.is_over() => census.lost.push(Lost {
                    name: &observed.key.name,
                    cause,
                }),
                trouble => census.workers.push(Worker {
                    observed,
                    ready: pod.is_ready(),
                    may_hold_data: pod.has_run(),
                    scheduled: pod.is_scheduled(),
                    created: pod.created,
                    trouble,
                }),
            }
        }
        for observed in observation.children_of(&kinds::deployment()) {
            if observed.terminating {
                census.terminating.push(observed);
                continue;
            }
            let deployment: DeploymentState = observed.read()?;
            let trouble = deployment.trouble();
            let trouble = trouble.map(|(reason, message)| Cause {
                reason: reason.into(),
                message: message.into(),
            });
            census.workers.push(Worker {
                observed,
                ready: deployment.is_ready(),
                may_hold_data: true,
                scheduled: true,
                created: None,
                trouble: trouble.filter(|_| !deployment.is_ready()),
            });
        }
        Ok(census)
    }

    /// How many workers are ready.
    pub(crate) fn ready(&self) -> usize {
        self.workers.iter().filter(|worker| worker.ready).count()
    }

    /// When the newest worker was created.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.workers.iter().filter_map(|worker| worker.created).max()
    }

    /// The trouble that most workers have, and how many have it; among equals the first by name.
    pub(crate) fn trouble(&self) -> Option<(usize, &Cause)> {
        let mut troubles: BTreeMap<&str, (usize, &Cause)> = BTreeMap::new();
        for cause in self
            .workers
            .iter()
            .filter(|worker| !worker.ready)
            .filter_map(|worker| worker.trouble.as_ref())
        {
            troubles.entry(&cause.reason).or_insert((0, cause)).0 += 1;
        }
        troubles.into_values().rev().max_by_key(|(count, _)| *count)
    }
}
