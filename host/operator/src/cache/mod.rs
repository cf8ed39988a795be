//! Informer cache: one store for each watched kind.
//!
//! * [`watch`]: the watches that fill the stores; requests to the API server.
//! * [`store`]: the objects of one kind, with own writes visible at once.
//! * [`nodes`]: taints of the nodes that run workers; requests to the API server.
//! * [`listings`]: kinds that can't be listed.
//!
//! The loop of all watches is [`client::watch`](crate::client::watch).
//!
//! # Why not `kube::runtime::reflector`
//!
//! A reflector's store is changed by the events of one watch only, and finds objects by their name only. This cache needs more:
//!
//! * **Own writes are visible at once.** [`Store::record_write`](store::Store::record_write) stores the API server's answer to a
//!   write, so that the next reconcile sees it even if the watch lags behind, and never creates an object twice. The store
//!   therefore orders versions, ignores answers that arrive after the deletion, and names objects that no watch has confirmed in
//!   time.
//! * **Objects are trimmed.** An [`Object`] is the few fields by which objects are found, and its JSON as one text for
//!   components. `managedFields` are dropped, and most of the `spec` of pods: see
//!   [`Retention`](crate::client::object::Retention).
//! * **Indices** by the uid of an owner and by cluster return the child objects of a resource without a search through all pods.
//! * **A relist takes no more memory.** `docs/install.md` promises some 90 MB for 5,000 workers. A reflector collects a new list
//!   beside the old one and then swaps them, so that a relist takes twice the memory. Here, listed objects replace the stored
//!   ones one by one, and those that the list lacks are removed at its end. Each is returned as a change, so that its owner is
//!   reconciled.

pub(crate) mod listings;
pub(crate) mod metrics;
pub(crate) mod nodes;
pub(crate) mod store;
pub(crate) mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;

use crate::cache::listings::Listings;
use crate::cache::nodes::Nodes;
use crate::cache::store::Store;
use crate::client::object::Object;
use crate::client::resource::{ResourceType, ResourceTypes};
use crate::key::ParentKey;

/// One store for each watched kind. Clones share the stores.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    kinds: ResourceTypes,
    stores: Arc<HashMap<ResourceKind, Store>>,
    nodes: Arc<Nodes>,
    listings: Arc<Listings>,
}

impl Stores {
    /// Returns empty stores for all Dask kinds and `others`.
    #[must_use]
    pub(crate) fn new(others: impl IntoIterator<Item = ResourceType>) -> Self {
        let kinds = ResourceTypes::new(others);
        let stores = kinds
            .iter()
            .map(|kind| (kind.resource.clone(), Store::default()))
            .collect();
        Self {
            kinds,
            stores: Arc::new(stores),
            nodes: Arc::default(),
            listings: Arc::default(),
        }
    }

    /// Returns the kinds that have a store.
    #[must_use]
    pub(crate) fn kinds(&self) -> &ResourceTypes {
        &self.kinds
    }

    /// Returns the store of a kind; `None` if the kind isn't watched.
    #[must_use]
    pub(crate) fn of(&self, kind: &ResourceKind) -> Option<&Store> {
        self.stores.get(kind)
    }

    /// Returns the nodes that have taints.
    #[must_use]
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Returns the kinds that can't be listed, whose stores are incomplete.
    #[must_use]
    pub(crate) fn listings(&self) -> &Listings {
        &self.listings
    }

    /// Returns the pods on a node.
    #[must_use]
    pub(crate) fn pods_on(&self, node: &str) -> Vec<Arc<Object>> {
        let pods = self.of(&ResourceKind::new("v1", "Pod"));
        pods.map(|store| store.all_where(|pod| pod.node.as_deref() == Some(node)))
            .unwrap_or_default()
    }

    fn dask(&self, kind: DaskKind) -> Option<&Store> {
        self.of(&ResourceKind::new(DASK_API_VERSION, kind.kind()))
    }

    /// Returns a Dask resource.
    #[must_use]
    pub(crate) fn parent(&self, key: &ParentKey) -> Option<Arc<Object>> {
        self.dask(key.kind)?.get(&key.namespace, &key.name)
    }

    /// Returns whether `object` belongs to a Dask resource that was deleted and created again with the same name:
    /// garbage collection has not reached the object yet. Adopting it would be a race with garbage collection. All
    /// objects of a cluster are deleted with it, including worker groups that a user created, even if another cluster of
    /// the same name is created at once.
    #[must_use]
    pub(crate) fn is_left_over(&self, object: &Object) -> bool {
        object.owners.iter().any(|owner| {
            let key = owner
                .dask_kind()
                .map(|kind| ParentKey::new(kind, &object.namespace, &owner.name));
            key.and_then(|key| self.parent(&key))
                .is_some_and(|now| now.uid != owner.uid)
        })
    }

    /// Returns the worker groups or autoscalers that name a cluster.
    #[must_use]
    pub(crate) fn of_cluster(&self, kind: DaskKind, namespace: &str, cluster: &str) -> Vec<Arc<Object>> {
        self.dask(kind)
            .map(|store| store.of_cluster(namespace, cluster))
            .unwrap_or_default()
    }

    /// Returns the scheduler pods of a cluster.
    #[must_use]
    pub(crate) fn schedulers(&self, namespace: &str, cluster: &str) -> Vec<Arc<Object>> {
        let pods = self.of(&ResourceKind::new("v1", "Pod"));
        pods.map(|store| store.of_cluster(namespace, cluster))
            .unwrap_or_default()
    }
}
