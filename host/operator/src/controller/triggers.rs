//! Mapping from changes of objects to the Dask resources that have to be reconciled.

use std::collections::HashSet;
use std::sync::Arc;

use dask_operator_core::parent::DaskKind;

use crate::cache::Stores;
use crate::cache::store::ObjectChange;
use crate::client::object::Object;
use crate::client::resource::ResourceType;
use crate::controller::queue::{Priority, Tenant};
use crate::key::ParentKey;

/// The namespaces are the tenants of the queue.
impl Tenant for ParentKey {
    fn tenant(&self) -> &str {
        &self.namespace
    }
}

/// Change that triggers the reconcile of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// The resource itself has changed.
    Itself(Priority),
    /// A dependency of the resource has changed.
    Dependency(Priority),
}

/// Returns the resources that `change` of an object of `kind` affects. `stores` contain those that the object does not
/// name: the worker groups and autoscalers of a cluster.
pub(crate) fn reconcile_requests(
    kind: &ResourceType,
    change: &ObjectChange,
    stores: &Stores,
) -> Vec<(ParentKey, Trigger)> {
    let (mut keys, mut seen) = (Vec::new(), HashSet::new());
    let priority = if frees_name(change, stores) || is_only_one_gone(change) {
        Priority::Urgent
    } else {
        Priority::Usual
    };
    let mut dependency = |key: ParentKey| {
        if seen.insert(key.clone()) {
            keys.push((key, Trigger::Dependency(priority)));
        }
    };
    for object in [change.before.as_deref(), change.after.as_deref()]
        .into_iter()
        .flatten()
    {
        for (owner, name) in object.dask_owners() {
            dependency(ParentKey::new(owner, &object.namespace, name));
        }
        let of_cluster = |kind, cluster: &str| {
            let objects = stores.of_cluster(kind, &object.namespace, cluster);
            let key = move |object: &Arc<Object>| ParentKey::new(kind, &object.namespace, &object.name);
            objects.iter().map(key).collect::<Vec<_>>()
        };
        match kind.as_dask() {
            Some(DaskKind::Cluster) => {
                of_cluster(DaskKind::WorkerGroup, &object.name)
                    .into_iter()
                    .for_each(&mut dependency);
                of_cluster(DaskKind::Autoscaler, &object.name)
                    .into_iter()
                    .for_each(&mut dependency);
            }
            Some(DaskKind::WorkerGroup) => {
                if let Some(cluster) = &object.spec_cluster {
                    dependency(ParentKey::new(DaskKind::Cluster, &object.namespace, cluster));
                    of_cluster(DaskKind::Autoscaler, cluster)
                        .into_iter()
                        .for_each(&mut dependency);
                }
            }
            // Only one of several autoscalers of a worker group is active, and the change may make another one active.
            Some(DaskKind::Autoscaler) if own_priority(change) == Priority::Urgent => {
                if let Some(cluster) = &object.spec_cluster {
                    of_cluster(DaskKind::Autoscaler, cluster)
                        .into_iter()
                        .for_each(&mut dependency);
                }
            }
            Some(DaskKind::Job | DaskKind::Autoscaler) => {}
            None => {
                if let Some(cluster) = object.cluster_of_scheduler() {
                    of_cluster(DaskKind::Autoscaler, cluster)
                        .into_iter()
                        .for_each(&mut dependency);
                }
            }
        }
    }
    if let (Some(kind), Some(object)) = (
        kind.as_dask(),
        change.after.as_deref().or(change.before.as_deref()),
    ) {
        let key = ParentKey::new(kind, &object.namespace, &object.name);
        keys.retain(|(known, _)| *known != key);
        keys.push((key, Trigger::Itself(own_priority(change))));
    }
    keys
}

/// Returns whether a left-over object with a name that another resource waits for is gone, which ends the back-off of
/// that resource.
fn frees_name(change: &ObjectChange, stores: &Stores) -> bool {
    let gone = change.before.as_ref().filter(|_| change.after.is_none());
    gone.is_some_and(|gone| stores.is_left_over(gone))
}

/// Returns whether the object is gone and was the only one of its role: a scheduler, a runner, a Service, a job's
/// cluster. The workers of a group are counted instead, and many of them may go at once.
fn is_only_one_gone(change: &ObjectChange) -> bool {
    let gone = change.before.as_ref().filter(|_| change.after.is_none());
    gone.is_some_and(|gone| {
        let mut owners = gone.dask_owners();
        owners.any(|(owner, _)| matches!(owner, DaskKind::Cluster | DaskKind::Job))
    })
}

/// Returns the priority of a change of the resource itself. A user who changes the spec or deletes the object expects a
/// prompt effect; most changes of the status are the operator's own.
fn own_priority(change: &ObjectChange) -> Priority {
    let what = |object: &Object| (object.uid.clone(), object.generation, object.terminating);
    if change.before.as_deref().map(what) == change.after.as_deref().map(what) {
        Priority::Usual
    } else {
        Priority::Urgent
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_core::names::DASK_API_VERSION;
    use dask_operator_core::plan::ResourceKind;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::object::tests::object;

    /// Returns stores with cluster `c`, its worker group `g` and its autoscaler `s`.
    fn stores() -> Stores {
        let stores = Stores::new([]);
        for (kind, name) in [
            (DaskKind::Cluster, "c"),
            (DaskKind::WorkerGroup, "g"),
            (DaskKind::Autoscaler, "s"),
        ] {
            let dask = ResourceType::dask(kind);
            let shown = object(&json!({
                "apiVersion": dask.resource.api_version, "kind": dask.resource.kind,
                "metadata": {"name": name, "namespace": "n", "uid": format!("uid of {name}")}, "spec": {"cluster": "c"},
            }));
            stores
                .of(&dask.resource)
                .and_then(|store| store.apply_event(shown));
        }
        stores
    }

    fn appears(kind: &str, metadata: Value, spec: Value) -> Vec<String> {
        let (api_version, kind) = kind.rsplit_once('/').unwrap_or_default();
        let kind = ResourceType::of(ResourceKind::new(api_version, kind));
        let after = object(&json!({"metadata": metadata, "spec": spec}));
        let change = ObjectChange {
            before: None,
            after: Some(Arc::new(after)),
        };
        let mut keys: Vec<_> = reconcile_requests(&kind, &change, &stores())
            .into_iter()
            .map(|(key, _)| key.to_string())
            .collect();
        keys.sort();
        keys
    }

    #[rstest]
    #[case::worker(
        "v1/Pod",
        json!({"name": "p", "namespace": "n", "ownerReferences": [{"apiVersion": DASK_API_VERSION, "kind": "DaskWorkerGroup", "name": "g"}]}),
        json!({}),
        &["DaskWorkerGroup n/g"]
    )]
    #[case::scheduler(
        "v1/Pod",
        json!({
            "name": "p", "namespace": "n", "ownerReferences": [{"apiVersion": DASK_API_VERSION, "kind": "DaskCluster", "name": "c"}],
            "labels": {"dask.org/component": "scheduler", "dask.org/cluster-name": "c"},
        }),
        json!({}),
        &["DaskAutoscaler n/s", "DaskCluster n/c"]
    )]
    #[case::cluster_of_a_job(
        "kubernetes.dask.org/v1/DaskCluster",
        json!({"name": "c", "namespace": "n", "ownerReferences": [{"apiVersion": DASK_API_VERSION, "kind": "DaskJob", "name": "c"}]}),
        json!({}),
        &["DaskAutoscaler n/s", "DaskCluster n/c", "DaskJob n/c", "DaskWorkerGroup n/g"]
    )]
    #[case::group(
        "kubernetes.dask.org/v1/DaskWorkerGroup",
        json!({"name": "g", "namespace": "n"}),
        json!({"cluster": "c"}),
        &["DaskAutoscaler n/s", "DaskCluster n/c", "DaskWorkerGroup n/g"]
    )]
    #[case::another_autoscaler(
        "kubernetes.dask.org/v1/DaskAutoscaler",
        json!({"name": "t", "namespace": "n", "uid": "uid of t"}),
        json!({"cluster": "c"}),
        &["DaskAutoscaler n/s", "DaskAutoscaler n/t"]
    )]
    #[case::of_another_api(
        "v1/Pod",
        json!({"name": "p", "namespace": "n", "ownerReferences": [{"apiVersion": "no.such/v1", "kind": "DaskJob", "name": "c"}]}),
        json!({}),
        &[]
    )]
    #[case::foreign("v1/Pod", json!({"name": "p", "ownerReferences": [{"kind": "ReplicaSet", "name": "r"}]}), json!({}), &[])]
    fn finds_the_affected_resources(
        #[case] kind: &str,
        #[case] metadata: Value,
        #[case] spec: Value,
        #[case] expected: &[&str],
    ) {
        assert_eq!(appears(kind, metadata, spec), expected);
    }

    #[rstest]
    #[case::spec(json!({"generation": 2}), Priority::Urgent)]
    #[case::deleted(json!({"generation": 1, "deletionTimestamp": "t"}), Priority::Urgent)]
    #[case::status(json!({"generation": 1, "resourceVersion": "2"}), Priority::Usual)]
    fn changes_of_the_spec_and_deletions_are_urgent(#[case] metadata: Value, #[case] expected: Priority) {
        let of = |metadata: Value| Some(Arc::new(object(&json!({"metadata": metadata}))));
        let change = ObjectChange {
            before: of(json!({"generation": 1})),
            after: of(metadata),
        };
        let keys = reconcile_requests(&ResourceType::dask(DaskKind::Job), &change, &stores());
        assert_eq!(keys[0].1, Trigger::Itself(expected));
    }

    #[rstest]
    #[case::left_over_is_gone("uid of a former c", false, Priority::Urgent)]
    #[case::left_over_ends("uid of a former c", true, Priority::Usual)]
    #[case::child_is_gone("uid of c", false, Priority::Urgent)]
    #[case::child_ends("uid of c", true, Priority::Usual)]
    fn the_loss_of_a_child_or_left_over_is_urgent(
        #[case] owner: &str,
        #[case] is_there: bool,
        #[case] expected: Priority,
    ) {
        let pod = Arc::new(object(&json!({"metadata": {
            "name": "p", "namespace": "n", "ownerReferences": [{"apiVersion": DASK_API_VERSION, "kind": "DaskCluster", "name": "c", "uid": owner}],
        }})));
        let change = ObjectChange {
            before: Some(pod.clone()),
            after: Some(pod).filter(|_| is_there),
        };
        let keys = reconcile_requests(
            &ResourceType::of(ResourceKind::new("v1", "Pod")),
            &change,
            &stores(),
        );
        let cluster = ParentKey::new(DaskKind::Cluster, "n", "c");
        assert_eq!(keys, [(cluster, Trigger::Dependency(expected))]);
    }

    #[rstest]
    #[case::runner("DaskJob", Priority::Urgent)]
    #[case::worker("DaskWorkerGroup", Priority::Usual)]
    fn the_loss_of_workers_is_not_urgent(#[case] owner: &str, #[case] expected: Priority) {
        let pod = object(&json!({"metadata": {
            "name": "p", "namespace": "n", "ownerReferences": [{"apiVersion": DASK_API_VERSION, "kind": owner, "name": "o", "uid": "u"}],
        }}));
        let change = ObjectChange {
            before: Some(Arc::new(pod)),
            after: None,
        };
        let keys = reconcile_requests(
            &ResourceType::of(ResourceKind::new("v1", "Pod")),
            &change,
            &stores(),
        );
        assert_eq!(keys[0].1, Trigger::Dependency(expected));
    }
}
