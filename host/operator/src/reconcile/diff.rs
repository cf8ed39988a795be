//! Changes that have to be written to get from the observed to the desired state.

use std::collections::HashSet;
use std::sync::Arc;

use dask_operator_core::draft::Draft;
use dask_operator_core::finish::{Child, Finished};
use dask_operator_core::memo::Answers;
use dask_operator_core::plan::{ChildKey, ResourceKind};
use serde_json::Value;

use crate::client::object::Object;
use crate::reconcile::observe::Observed;

/// One change of a child.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Create this object, which does not exist.
    Create(ChildKey, Draft),
    /// Apply this object over the existing one, if there is one.
    Apply(ChildKey, Value, Option<Arc<Object>>),
    /// Delete this child, which the plan does not contain.
    Delete(ResourceKind, Arc<Object>),
}

/// Returns all changes that have to be written for `children`, deletions first.
///
/// A child that is being deleted is waited for: its name is taken until it is gone.
#[must_use]
pub(crate) fn changes(observed: &Observed, children: Vec<Child>, answers: &Answers) -> Vec<Change> {
    let wanted: HashSet<_> = children.iter().map(|child| &child.key).collect();
    let unwanted = |(kind, object): (&ResourceKind, &Arc<Object>)| {
        let key = ChildKey {
            kind: kind.clone(),
            name: object.name.to_string(),
        };
        (!object.terminating && !wanted.contains(&key)).then(|| Change::Delete(kind.clone(), object.clone()))
    };
    let deletions: Vec<_> = observed.all().filter_map(unwanted).collect();
    let written = children.into_iter().filter_map(|child| {
        let existing = observed.child(&child.key);
        match (child.action, existing) {
            (Finished::Keep, _) | (Finished::Create(_), Some(_)) => None,
            (Finished::Create(object), None) => Some(Change::Create(child.key, object)),
            (Finished::Apply(object), None) => Some(Change::Apply(child.key, object, None)),
            (Finished::Apply(object), Some(existing)) => {
                let done = existing.terminating || answers.in_sync(&existing.uid, &object, &existing.value());
                (!done).then(|| Change::Apply(child.key, object, Some(existing.clone())))
            }
        }
    });
    deletions.into_iter().chain(written).collect()
}

#[cfg(test)]
mod tests {
    use dask_operator_core::names::{ANNOTATION_HASH, DASK_API_VERSION};
    use dask_operator_core::parent::Parent;
    use serde_json::json;

    use super::*;
    use crate::cache::Stores;
    use crate::client::object::tests::object;
    use crate::client::resource::Kind;

    fn service(name: &str, terminating: bool, port: u16) -> Value {
        let mut value = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": name, "namespace": "n", "uid": name, "annotations": {ANNOTATION_HASH: "h"},
                "labels": {"dask.org/cluster-name": "a"},
                "ownerReferences": [{
                    "apiVersion": DASK_API_VERSION, "kind": "DaskCluster", "name": "a", "uid": "parent", "controller": true,
                }],
            },
            "spec": {"ports": [{"port": port}]},
        });
        if terminating {
            value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        value
    }

    /// Returns the changes for these existing services and the wanted children.
    fn written(existing: &[Value], wanted: Vec<Child>) -> Vec<String> {
        let kind = ResourceKind::new("v1", "Service");
        let stores = Stores::new([Kind::of(kind.clone())]);
        for value in existing {
            stores.of(&kind).map(|store| store.shown(object(value)));
        }
        let cluster = object(&json!({
            "apiVersion": DASK_API_VERSION, "kind": "DaskCluster",
            "metadata": {"name": "a", "namespace": "n", "uid": "parent"},
        }));
        let parent = Parent::from_object(&cluster.value()).unwrap_or_else(|error| panic!("{error}"));
        let observed = Observed::new(&stores, Arc::new(cluster), &parent, &[kind]);
        let changes = changes(&observed, wanted, &Answers::default());
        let text = |change: Change| match change {
            Change::Create(key, _) => format!("create {key}"),
            Change::Apply(key, _, over) => format!("apply {key} over {over:?}"),
            Change::Delete(kind, object) => format!("delete {} {}", kind.kind, object.name),
        };
        changes.into_iter().map(text).collect()
    }

    fn child(name: &str, action: Finished) -> Child {
        Child {
            key: ChildKey {
                kind: ResourceKind::new("v1", "Service"),
                name: name.into(),
            },
            action,
        }
    }

    fn apply(name: &str, port: u16) -> Child {
        child(name, Finished::Apply(service(name, false, port)))
    }

    #[test]
    fn nothing_is_written_in_the_desired_state() {
        let existing = [
            service("s", false, 1),
            service("k", false, 1),
            service("c", false, 1),
        ];
        let create = child(
            "c",
            Finished::Create(Draft::read("{}").unwrap_or_else(|error| panic!("{error}"))),
        );
        assert!(written(&existing, vec![apply("s", 1), child("k", Finished::Keep), create]).is_empty());
    }

    #[test]
    fn differences_are_written_and_deletions_come_first() {
        let existing = [service("s", false, 1), service("x", false, 1)];
        let create = child(
            "c",
            Finished::Create(Draft::read("{}").unwrap_or_else(|error| panic!("{error}"))),
        );
        assert_eq!(
            written(&existing, vec![create, apply("s", 2), apply("t", 1)]),
            [
                "delete Service x",
                "create Service c",
                "apply Service s over Some(n/s (s, version ))",
                "apply Service t over None"
            ]
        );
    }

    #[test]
    fn terminating_children_are_waited_for() {
        let existing = [
            service("s", true, 1),
            service("c", true, 1),
            service("x", true, 1),
        ];
        let create = child(
            "c",
            Finished::Create(Draft::read("{}").unwrap_or_else(|error| panic!("{error}"))),
        );
        assert!(written(&existing, vec![create, apply("s", 2)]).is_empty());
    }
}
