//! Observed state: a parent with its children and related objects, as the informer cache has them at one moment. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use dask_operator_core::gate;
use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::{ChildKey, ResourceKind};
use dask_operator_evaluator::convert;
use dask_operator_evaluator::plan::World;
use dask_operator_runtime::contract::{
    self, Observation, ObservedKind, ObservedObject, SchedulerState, SchedulerWorker,
};

use crate::cache::Stores;
use crate::client::object::Object;
use crate::key::ParentKey;

/// A parent with its children and related objects, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    /// The parent.
    pub(crate) parent: Arc<Object>,
    /// Children of each declared kind, in the order of their names.
    pub(crate) children: Vec<(ResourceKind, Vec<Arc<Object>>)>,
    /// Other objects that the interface promises.
    pub(crate) related: Vec<(ResourceKind, Arc<Object>)>,
    /// Nodes with taints that run pods of a worker group: name and JSON.
    nodes: Vec<(Box<str>, Box<str>)>,
    /// Facts from the Dask scheduler of the cluster.
    pub(crate) scheduler: SchedulerState,
    by_key: HashMap<ChildKey, Arc<Object>>,
    /// Worker groups of the parent's cluster, by name.
    worker_groups: HashMap<Box<str>, Arc<Object>>,
}

impl Observed {
    /// Observes `object`, whose component declares children of `kinds`.
    #[must_use]
    pub(crate) fn new(stores: &Stores, object: Arc<Object>, parent: &Parent, kinds: &[ResourceKind]) -> Self {
        let children: Vec<_> = kinds
            .iter()
            .map(|kind| {
                let mut owned = stores
                    .of(kind)
                    .map(|store| store.owned_by(&parent.namespace, &parent.uid))
                    .unwrap_or_default();
                owned.retain(|child| child.is_child_of(kind, parent));
                (kind.clone(), owned)
            })
            .collect();
        let keyed = |(kind, objects): &(ResourceKind, Vec<Arc<Object>>)| {
            let key = |object: &Arc<Object>| ChildKey {
                kind: kind.clone(),
                name: object.name.to_string(),
            };
            objects
                .iter()
                .map(|object| (key(object), object.clone()))
                .collect::<Vec<_>>()
        };
        let by_key = children.iter().flat_map(keyed).collect();
        let nodes = match parent.kind {
            DaskKind::WorkerGroup => nodes(stores, children.iter().flat_map(|(_, objects)| objects)),
            DaskKind::Cluster | DaskKind::Job | DaskKind::Autoscaler => Vec::new(),
        };
        let groups = stores.of_cluster(DaskKind::WorkerGroup, &parent.namespace, &parent.cluster);
        let related = related(stores, parent, &groups);
        Self {
            parent: object,
            children,
            related,
            nodes,
            scheduler: SchedulerState::NotAsked,
            by_key,
            worker_groups: groups
                .into_iter()
                .map(|group| (group.name.clone(), group))
                .collect(),
        }
    }

    /// Returns a worker group of the parent's cluster, as it was observed.
    #[must_use]
    pub(crate) fn worker_group(&self, name: &str) -> Option<&Arc<Object>> {
        self.worker_groups.get(name)
    }

    /// Returns a child as it was observed.
    #[must_use]
    pub(crate) fn child(&self, key: &ChildKey) -> Option<&Arc<Object>> {
        self.by_key.get(key)
    }

    /// Returns all children.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&ResourceKind, &Arc<Object>)> {
        self.children
            .iter()
            .flat_map(|(kind, objects)| objects.iter().map(move |object| (kind, object)))
    }

    /// Returns the size of the JSON of all children and related objects, in bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        let children = self.all().map(|(_, object)| object);
        let related = self.related.iter().map(|(_, object)| object);
        children.chain(related).map(|object| object.json.len()).sum()
    }

    /// Returns the approximate memory of the facts from the Dask scheduler, in bytes.
    #[must_use]
    pub(crate) fn scheduler_bytes(&self) -> usize {
        let bytes = |worker: &SchedulerWorker| {
            worker.address.len() + worker.name.len() + worker.status.len() + size_of::<SchedulerWorker>()
        };
        self.scheduler.workers().iter().map(bytes).sum()
    }

    /// Returns the observation that the component receives. `now` is in milliseconds since 1970.
    #[must_use]
    pub(crate) fn observation(&self, parent: &Parent, now: i64, settings: &str) -> Observation {
        let observed = |(kind, objects): &(ResourceKind, Vec<Arc<Object>>)| ObservedKind {
            kind: convert::contract_kind(kind),
            objects: objects
                .iter()
                .map(|object| observed_object(kind, object))
                .collect(),
        };
        Observation {
            parent: self.parent.json.to_string(),
            children: self.children.iter().map(observed).collect(),
            related: self
                .related
                .iter()
                .map(|(kind, object)| observed_object(kind, object))
                .chain(self.nodes.iter().map(|(name, json)| observed_node(name, json)))
                .collect(),
            scheduler: self.scheduler.clone(),
            now,
            seed: parent.seed(),
            settings: settings.to_owned(),
        }
    }
}

impl gate::Observed for Observed {
    fn has_child(&self, key: &ChildKey) -> bool {
        self.by_key.contains_key(key)
    }

    fn has_worker_group(&self, name: &str) -> bool {
        self.worker_group(name).is_some()
    }

    fn dask_workers(&self) -> HashSet<&str> {
        self.scheduler.worker_addresses()
    }

    fn has_cluster(&self, uid: &str) -> bool {
        let mut clusters = self
            .related
            .iter()
            .filter(|(kind, _)| DaskKind::from_kind(&kind.kind) == Some(DaskKind::Cluster));
        clusters.any(|(_, cluster)| *cluster.uid == *uid)
    }
}

impl World for Observed {
    fn children(&self) -> impl Iterator<Item = ChildKey> {
        self.by_key.keys().cloned()
    }
}

/// Returns the objects other than children that `wit/` promises.
fn related(stores: &Stores, parent: &Parent, groups: &[Arc<Object>]) -> Vec<(ResourceKind, Arc<Object>)> {
    let dask = |kind: DaskKind| ResourceKind::new(DASK_API_VERSION, kind.kind());
    let cluster = || {
        let found = stores.parent(&ParentKey::new(
            DaskKind::Cluster,
            &parent.namespace,
            &parent.cluster,
        ));
        found.map(|object| (dask(DaskKind::Cluster), object))
    };
    let groups = groups
        .iter()
        .map(|object| (dask(DaskKind::WorkerGroup), object.clone()));
    match parent.kind {
        DaskKind::Cluster => groups
            .filter(|(kind, group)| !group.is_child_of(kind, parent))
            .collect(),
        DaskKind::WorkerGroup => cluster().into_iter().collect(),
        DaskKind::Job => Vec::new(),
        DaskKind::Autoscaler => {
            let schedulers = stores.schedulers(&parent.namespace, &parent.cluster);
            let schedulers = schedulers
                .into_iter()
                .map(|pod| (ResourceKind::new("v1", "Pod"), pod));
            let others = stores.of_cluster(DaskKind::Autoscaler, &parent.namespace, &parent.cluster);
            let others = others
                .into_iter()
                .filter(|other| *other.uid != *parent.uid)
                .map(|other| (dask(DaskKind::Autoscaler), other));
            cluster()
                .into_iter()
                .chain(groups)
                .chain(schedulers)
                .chain(others)
                .collect()
        }
    }
}

/// Returns the nodes of these pods that have taints, each once.
fn nodes<'a>(stores: &Stores, pods: impl Iterator<Item = &'a Arc<Object>>) -> Vec<(Box<str>, Box<str>)> {
    let names: BTreeSet<&str> = pods.filter_map(|pod| pod.node.as_deref()).collect();
    let tainted = |name: &str| Some((name.into(), stores.nodes().tainted(name)?));
    names.into_iter().filter_map(tainted).collect()
}

fn observed_node(name: &str, json: &str) -> ObservedObject {
    ObservedObject {
        key: contract::ChildKey {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: name.to_owned(),
        },
        uid: String::new(),
        terminating: false,
        object: json.to_owned(),
    }
}

fn observed_object(kind: &ResourceKind, object: &Object) -> ObservedObject {
    ObservedObject {
        key: contract::ChildKey {
            api_version: kind.api_version.clone(),
            kind: kind.kind.clone(),
            name: object.name.to_string(),
        },
        uid: object.uid.to_string(),
        terminating: object.terminating,
        object: object.json.to_string(),
    }
}

#[cfg(test)]
mod tests;
