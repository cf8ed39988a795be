//! What there is when a plan is made: what the plans before it made.

use std::collections::HashSet;

use dask_operator_core::gate::Observed;
use dask_operator_core::plan::{ChildKey, Condition};
use dask_operator_runtime::contract::{self, ObservedKind, ObservedObject};
use serde_json::Value;

use super::uid;

/// What there is when a plan is made.
pub(super) struct Existing {
    /// The names of worker groups that may be scaled.
    pub(super) groups: Vec<String>,
    /// Children of the plans before.
    pub(super) children: Vec<ObservedObject>,
    /// What the last plan says of the resource.
    pub(super) conditions: Vec<Condition>,
}

impl Existing {
    /// The children of each of these kinds.
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

    /// Why a job has no runner yet.
    pub(super) fn waits(&self) -> Option<&str> {
        let runner = self.children.iter().any(|child| child.key.kind == "Pod");
        let why = self
            .conditions
            .iter()
            .find(|condition| condition.type_ == "RunnerReady");
        why.filter(|_| !runner)
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

    // Nothing is written here.
    fn has_cluster(&self, _: &str) -> bool {
        true
    }
}

/// A child of a plan, as if it had just been made.
pub(super) fn exists(key: ChildKey, mut object: Value) -> ObservedObject {
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
