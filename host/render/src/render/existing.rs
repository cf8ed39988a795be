//! Objects that exist when a plan is computed, because earlier plans created them.

use std::collections::HashSet;

use dask_operator_core::gate::Observed;
use dask_operator_core::plan::{ChildKey, Condition};
use dask_operator_runtime::contract::{self, ObservedKind, ObservedObject};
use serde_json::Value;

use super::uid;

/// The state that a plan is computed and checked against.
pub(super) struct Existing {
    /// Names of the worker groups that a plan may scale.
    pub(super) groups: Vec<String>,
    /// Children that earlier plans created.
    pub(super) children: Vec<ObservedObject>,
    /// Conditions of the resource according to the last plan.
    pub(super) conditions: Vec<Condition>,
}

impl Existing {
    /// Returns the children, grouped by the given kinds.
    pub(super) fn of_kinds(&self, kinds: &[contract::ResourceKind]) -> Vec<ObservedKind> {
        let is_of = |kind: &contract::ResourceKind, key: &contract::ChildKey| {
            (&key.api_version, &key.kind) == (&kind.api_version, &kind.kind)
        };
        let of = |kind: &contract::ResourceKind| ObservedKind {
            kind: kind.clone(),
            objects: self
                .children
                .iter()
                .filter(|child| is_of(kind, &child.key))
                .cloned()
                .collect(),
        };
        kinds.iter().map(of).collect()
    }

    /// Returns the reason why a job has no runner Pod yet; `None` if there is one, or if no reason is known.
    pub(super) fn runner_delay(&self) -> Option<&str> {
        let runner = self.children.iter().any(|child| child.key.kind == "Pod");
        let condition = self
            .conditions
            .iter()
            .find(|condition| condition.type_ == "RunnerReady");
        condition
            .filter(|_| !runner)
            .map(|condition| condition.message.as_str())
    }
}

impl Observed for Existing {
    fn has_child(&self, key: &ChildKey) -> bool {
        self.children.iter().any(|child| {
            (&child.key.api_version, &child.key.kind, &child.key.name)
                == (&key.kind.api_version, &key.kind.kind, &key.name)
        })
    }

    fn has_worker_group(&self, name: &str) -> bool {
        self.groups.iter().any(|group| group == name)
    }

    fn dask_workers(&self) -> HashSet<&str> {
        HashSet::new()
    }

    // Nothing is written to a cluster, so that the cluster does not have to exist.
    fn has_cluster(&self, _: &str) -> bool {
        true
    }
}

/// Returns a child of a plan as an observed object, as if it had just been created.
pub(super) fn as_existing(key: ChildKey, mut object: Value) -> ObservedObject {
    let uid = uid(&key.kind.kind, "", &key.name);
    object["metadata"]["uid"] = uid.as_str().into();
    ObservedObject {
        key: contract::ChildKey {
            api_version: key.kind.api_version,
            kind: key.kind.kind,
            name: key.name,
        },
        uid,
        terminating: false,
        object: object.to_string(),
    }
}
