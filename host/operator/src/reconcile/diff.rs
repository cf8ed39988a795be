//! Third step of a reconcile: computes the changes that lead from the observed to the planned state. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use dask_operator_core::apply_cache::AppliedResponses;
use dask_operator_core::copies::CopyText;
use dask_operator_core::gate::CheckedPlan;
use dask_operator_core::plan::{ChildKey, ResourceKind};
use dask_operator_core::raw_object::RawObject;
use dask_operator_core::stamp::{StampedAction, StampedChild, stamp};
use serde_json::Value;

use crate::client::object::Object;
use crate::reconcile::memory_budget::Reservation;
use crate::reconcile::observe::PlanInput;
use crate::reconcile::observed::Observed;
use crate::reconcile::plan::Planned;
use crate::reconcile::problem::Problem;
use crate::reconcile::response_cache::ResponseCache;

/// A plan, and the changes of children that it requires.
pub(crate) struct Diff {
    /// Input of the plan.
    pub(crate) input: Arc<PlanInput>,
    /// The plan without its children.
    pub(crate) plan: CheckedPlan,
    /// Number of planned children.
    pub(crate) children: usize,
    /// Changes that have to be written.
    pub(crate) changes: Vec<ChildChange>,
    /// Violations that policies in monitor mode reported.
    pub(crate) violations: Option<Problem>,
    /// Memory reserved for the plan until it has been applied.
    pub(crate) reservation: Reservation,
}

/// Compares plans with the observed state.
#[derive(Clone)]
pub(crate) struct Differ {
    /// Responses to earlier applies.
    pub(super) responses: ResponseCache,
}

impl Differ {
    /// Computes the changes that have to be written for a plan. The cost grows with the plan and the observed children.
    pub(crate) fn diff(&self, planned: Planned) -> Diff {
        let Planned {
            input,
            mut plan,
            violations,
            reservation,
        } = planned;
        let children = stamp(&input.parent, std::mem::take(&mut plan.children));
        let uids = input.observed.all().map(|(_, object)| &*object.uid);
        let responses = self.responses.of(uids);
        Diff {
            plan,
            children: children.len(),
            changes: diff(&input.observed, children, &responses),
            violations,
            reservation,
            input,
        }
    }
}

/// One change of a child.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ChildChange {
    /// Create this object, which does not exist.
    Create(ChildKey, RawObject),
    /// Create the copy of this object with the child's name, which does not exist.
    Copy(ChildKey, Arc<CopyText>),
    /// Apply this object over the existing one, if there is one.
    Apply(ChildKey, Value, Option<Arc<Object>>),
    /// Delete this child, which the plan does not contain.
    Delete(ResourceKind, Arc<Object>),
}

impl ChildChange {
    /// Returns the kind of the child.
    pub(crate) fn kind(&self) -> &ResourceKind {
        match self {
            Self::Create(key, _) | Self::Copy(key, _) | Self::Apply(key, _, _) => &key.kind,
            Self::Delete(kind, _) => kind,
        }
    }

    /// Returns the number of bytes of text that the change has in memory.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Create(_, object) => object.text_bytes(),
            Self::Copy(..) | Self::Apply(..) | Self::Delete(..) => 0,
        }
    }
}

/// Returns all changes that have to be written for `children`, deletions first.
///
/// A child that is being deleted is waited for: its name is taken until it is gone.
#[must_use]
pub(crate) fn diff(
    observed: &Observed,
    children: Vec<StampedChild>,
    responses: &AppliedResponses,
) -> Vec<ChildChange> {
    let wanted: HashSet<_> = children.iter().map(|child| &child.key).collect();
    let unwanted = |(kind, object): (&ResourceKind, &Arc<Object>)| {
        let key = ChildKey {
            kind: kind.clone(),
            name: object.name.to_string(),
        };
        (!object.terminating && !wanted.contains(&key))
            .then(|| ChildChange::Delete(kind.clone(), object.clone()))
    };
    let deletions: Vec<_> = observed.all().filter_map(unwanted).collect();
    let written = children.into_iter().filter_map(|child| {
        let existing = observed.child(&child.key);
        match (child.action, existing) {
            (StampedAction::Keep, _) | (StampedAction::Create(_) | StampedAction::Copy(_), Some(_)) => None,
            (StampedAction::Create(object), None) => Some(ChildChange::Create(child.key, object)),
            (StampedAction::Copy(text), None) => Some(ChildChange::Copy(child.key, text)),
            (StampedAction::Apply(object), None) => Some(ChildChange::Apply(child.key, object, None)),
            (StampedAction::Apply(object), Some(existing)) => {
                let done =
                    existing.terminating || responses.in_sync(&existing.uid, &object, &existing.value());
                (!done).then(|| ChildChange::Apply(child.key, object, Some(existing.clone())))
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
    use crate::client::resource::ResourceType;

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
    fn written(existing: &[Value], wanted: Vec<StampedChild>) -> Vec<String> {
        let kind = ResourceKind::new("v1", "Service");
        let stores = Stores::new([ResourceType::of(kind.clone())]);
        for value in existing {
            stores.of(&kind).map(|store| store.apply_event(object(value)));
        }
        let cluster = object(&json!({
            "apiVersion": DASK_API_VERSION, "kind": "DaskCluster",
            "metadata": {"name": "a", "namespace": "n", "uid": "parent"},
        }));
        let parent = Parent::from_object(&cluster.value()).unwrap_or_else(|error| panic!("{error}"));
        let observed = Observed::new(&stores, Arc::new(cluster), &parent, &[kind]);
        let changes = diff(&observed, wanted, &AppliedResponses::default());
        let text = |change: ChildChange| match change {
            ChildChange::Create(key, _) | ChildChange::Copy(key, _) => format!("create {key}"),
            ChildChange::Apply(key, _, over) => format!("apply {key} over {over:?}"),
            ChildChange::Delete(kind, object) => format!("delete {} {}", kind.kind, object.name),
        };
        changes.into_iter().map(text).collect()
    }

    fn child(name: &str, action: StampedAction) -> StampedChild {
        StampedChild {
            key: ChildKey {
                kind: ResourceKind::new("v1", "Service"),
                name: name.into(),
            },
            action,
        }
    }

    fn apply(name: &str, port: u16) -> StampedChild {
        child(name, StampedAction::Apply(service(name, false, port)))
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
            StampedAction::Create(RawObject::read("{}").unwrap_or_else(|error| panic!("{error}"))),
        );
        assert!(
            written(
                &existing,
                vec![apply("s", 1), child("k", StampedAction::Keep), create]
            )
            .is_empty()
        );
    }

    #[test]
    fn differences_are_written_and_deletions_come_first() {
        let existing = [service("s", false, 1), service("x", false, 1)];
        let create = child(
            "c",
            StampedAction::Create(RawObject::read("{}").unwrap_or_else(|error| panic!("{error}"))),
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
            StampedAction::Create(RawObject::read("{}").unwrap_or_else(|error| panic!("{error}"))),
        );
        assert!(written(&existing, vec![create, apply("s", 2)]).is_empty());
    }
}
