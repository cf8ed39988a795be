//! Types of the contract, generated from `wit/`.
//!
//! The types serialise as the guests' bindings (`dask-operator-plugin`) do, so that
//! observations and plans can be recorded, replayed and compared as JSON.

/// Code that `bindgen!` generates from the contract. Components are called through
/// typed functions (`component.rs`), so only the types of this module are used.
#[allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "full-plugin",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

pub(crate) use bindings::dask::operator::log;
pub(crate) use bindings::exports::dask::operator::describe::Description as RawDescription;

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;

pub use bindings::dask::operator::types::{
    ChildAction, ChildKey, Condition, ConditionStatus, DesiredChild, Error, Event, EventType, Finding,
    Observation, ObservedKind, ObservedObject, Owner, Plan, ResourceKind, Scale, SchedulerFacts,
    SchedulerQuestion, SchedulerRequest, SchedulerState, SchedulerWorker, Severity,
};
pub use bindings::exports::dask::operator::policy::{
    AdmissionRequest, AdmissionResponse, Operation, Review, ReviewRequest, Verdict,
};

/// Milliseconds since 1970-01-01T00:00:00Z, as in the contract.
pub type Timestamp = i64;

impl ObservedObject {
    /// Converts a Kubernetes object to the form in which components receive it.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        Self {
            key: ChildKey {
                api_version: text(&object["apiVersion"]),
                kind: text(&object["kind"]),
                name: text(&metadata["name"]),
            },
            uid: text(&metadata["uid"]),
            terminating: metadata["deletionTimestamp"].is_string(),
            object: object.to_string(),
        }
    }
}

impl Default for Plan {
    /// Returns a plan without children and with an empty status.
    fn default() -> Self {
        Self {
            children: Vec::new(),
            status: "{}".to_owned(),
            conditions: Vec::new(),
            events: Vec::new(),
            owner: None,
            scale: Vec::new(),
            delete_parent: None,
            requeue_after: None,
            scheduler: None,
        }
    }
}

impl Plan {
    /// Returns the JSON text of the object of a child of this plan: of a copy, the text of its original with the name of the
    /// copy. Returns `None` for a child that is kept, and for a copy without an original.
    #[must_use]
    pub fn text_of<'a>(&'a self, child: &'a DesiredChild) -> Option<Cow<'a, str>> {
        match &child.action {
            ChildAction::Keep => None,
            ChildAction::Create(text) | ChildAction::Apply(text) => Some(text.into()),
            ChildAction::Copy(index) => match self.children.get(*index as usize)? {
                DesiredChild {
                    key,
                    action: ChildAction::Create(text),
                } => Some(text.replace(&key.name, &child.key.name).into()),
                _ => None,
            },
        }
    }
}

impl SchedulerState {
    /// Returns the Dask workers that the scheduler knows; none without facts.
    #[must_use]
    pub fn workers(&self) -> &[SchedulerWorker] {
        match self {
            Self::Facts(facts) => &facts.workers,
            Self::NotAsked | Self::Unreachable(_) => &[],
        }
    }

    /// Returns the addresses of these workers.
    #[must_use]
    pub fn worker_addresses(&self) -> HashSet<&str> {
        self.workers()
            .iter()
            .map(|worker| worker.address.as_str())
            .collect()
    }
}

/// Answer of a logic component to a successful call: a value, or the component's own error.
pub type Answer<T> = Result<T, Error>;
