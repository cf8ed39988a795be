//! The state that a plan is checked against.

use std::collections::HashSet;

use dask_operator_core::gate::Observed;
use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ChildKey;
use dask_operator_runtime::contract::{Observation, ObservedObject};

use crate::convert;

/// State that a plan is checked against.
pub trait World: Observed {
    /// Returns the keys of the observed children.
    fn children(&self) -> impl Iterator<Item = ChildKey>;
}

/// The state in an observation. Facts that the observation does not contain do not exist.
#[derive(Debug)]
pub struct ObservedState<'a> {
    observation: &'a Observation,
    children: HashSet<ChildKey>,
}

impl<'a> ObservedState<'a> {
    /// Returns the state in an observation.
    #[must_use]
    pub fn of(observation: &'a Observation) -> Self {
        let objects = observation.children.iter().flat_map(|kind| &kind.objects);
        Self {
            observation,
            children: objects
                .map(|object| convert::child_key(object.key.clone()))
                .collect(),
        }
    }

    /// Returns the objects of a Dask kind, children as well as related ones.
    fn dask(&self, kind: DaskKind) -> impl Iterator<Item = &ObservedObject> {
        let children = self.observation.children.iter().flat_map(|kind| &kind.objects);
        children.chain(&self.observation.related).filter(move |object| {
            object.key.kind == kind.kind() && object.key.api_version == DASK_API_VERSION
        })
    }
}

impl Observed for ObservedState<'_> {
    fn has_child(&self, key: &ChildKey) -> bool {
        self.children.contains(key)
    }

    fn has_worker_group(&self, name: &str) -> bool {
        self.dask(DaskKind::WorkerGroup)
            .any(|group| group.key.name == name)
    }

    fn dask_workers(&self) -> HashSet<&str> {
        self.observation.scheduler.worker_addresses()
    }

    fn has_cluster(&self, uid: &str) -> bool {
        self.dask(DaskKind::Cluster).any(|cluster| cluster.uid == uid)
    }
}

impl World for ObservedState<'_> {
    fn children(&self) -> impl Iterator<Item = ChildKey> {
        self.children.iter().cloned()
    }
}
