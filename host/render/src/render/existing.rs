//! Objects that exist when a plan is computed, because earlier plans created them.

use std::collections::HashSet;

use dask_operator_core::plan::{ChildKey, DesiredCondition, ResourceKind};
use dask_operator_evaluator::convert;
use dask_operator_runtime::contract::{self, ObservedKind, ObservedObject};
use serde_json::Value;

use super::uid;

/// The results of a resource's plans so far.
#[derive(Default)]
pub(super) struct Existing {
    /// Children that earlier plans created.
    children: Vec<ObservedObject>,
    /// Keys of these children.
    keys: HashSet<ChildKey>,
    /// Conditions of the resource according to the last plan.
    pub(super) conditions: Vec<DesiredCondition>,
}

impl Existing {
    /// Adds a child of a plan, as if it had just been created. Returns false if it exists already.
    pub(super) fn add(&mut self, key: &ChildKey, object: &Value) -> bool {
        let is_new = self.keys.insert(key.clone());
        if is_new {
            self.children.push(as_existing(key.clone(), object.clone()));
        }
        is_new
    }

    /// Returns the children, grouped by the given kinds.
    pub(super) fn of_kinds(&self, kinds: &[ResourceKind]) -> Vec<ObservedKind> {
        let is_of = |kind: &ResourceKind, key: &contract::ChildKey| {
            (&key.api_version, &key.kind) == (&kind.api_version, &kind.kind)
        };
        let of = |kind: &ResourceKind| ObservedKind {
            kind: convert::contract_kind(kind),
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

/// Returns a child of a plan as an observed object, as if it had just been created.
fn as_existing(key: ChildKey, mut object: Value) -> ObservedObject {
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
