//! Plans, the output of a component.
//!
//! The types mirror the records of the contract with owned text, so that this crate does not depend on WebAssembly.
//! `wit/types.wit` defines the meaning of each record.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A kind of Kubernetes resource, as in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKind {
    /// `v1`, `apps/v1`, …
    pub api_version: String,
    /// `Pod`, `Service`, …
    pub kind: String,
}

impl ResourceKind {
    /// Returns the kind with this `apiVersion` and `kind`.
    pub fn new(api_version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            api_version: api_version.into(),
            kind: kind.into(),
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version, self.kind)
    }
}

/// Error about a text that is not the name of a kind.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} names no kind: write API version and kind, as v1/ConfigMap or cert-manager.io/v1/Certificate, \
         and =PLURAL where the plural is irregular"
)]
pub struct NoKind(String);

impl NoKind {
    /// Creates the error about a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Parses `v1/ConfigMap` or `cert-manager.io/v1/Certificate`.
impl FromStr for ResourceKind {
    type Err = NoKind;

    fn from_str(text: &str) -> Result<Self, NoKind> {
        let (api_version, kind) = text.rsplit_once('/').ok_or_else(|| NoKind::new(text))?;
        if api_version.is_empty() || kind.is_empty() {
            return Err(NoKind::new(text));
        }
        Ok(Self::new(api_version, kind))
    }
}

/// Kind and name of a child, which identify it in its parent's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildKey {
    /// Kind of the child.
    pub kind: ResourceKind,
    /// `metadata.name`
    pub name: String,
}

impl fmt::Display for ChildKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.kind, self.name)
    }
}

/// The action for one child. The texts are JSON objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The child stays as it is.
    Keep,
    /// This object is created if the child does not exist.
    Create(String),
    /// A copy of the object of the child at this index of the plan is created if the child does not exist.
    Copy(usize),
    /// This object is applied.
    Apply(String),
}

/// One child of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredChild {
    /// Kind and name of the child.
    pub key: ChildKey,
    /// The action for the child.
    pub action: Action,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// The condition is met.
    True,
    /// The condition is not met.
    False,
    /// The state is unknown.
    Unknown,
}

impl ConditionStatus {
    /// Returns the value as it is written in a status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition, before the host adds `lastTransitionTime` and `observedGeneration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredCondition {
    /// Type of the condition, in CamelCase.
    pub type_: String,
    /// Status of the condition.
    pub status: ConditionStatus,
    /// Reason for the status, one word in CamelCase.
    pub reason: String,
    /// Explanation of the status for users.
    pub message: String,
}

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// Information about normal operation.
    Normal,
    /// A problem.
    Warning,
}

/// A Kubernetes event about the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Type of the event.
    pub type_: EventType,
    /// Reason for the event, one word in CamelCase.
    pub reason: String,
    /// Description of the event for users.
    pub message: String,
}

/// An object that becomes the owner of the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kind of the owner.
    pub kind: ResourceKind,
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`
    pub uid: String,
}

/// The desired number of workers of a worker group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// `metadata.name` of the group.
    pub worker_group: String,
    /// Desired number of replicas.
    pub replicas: u32,
}

/// A query that the Dask scheduler can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchedulerQuestion {
    /// The registered workers.
    Workers,
    /// The number of workers that the scheduler could use.
    Demand,
    /// The time since which the scheduler has been idle.
    Idle,
}

/// Periodic queries for the Dask scheduler of the parent's cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerRequest {
    /// Queries to send.
    pub questions: Vec<SchedulerQuestion>,
    /// Period of the queries in milliseconds.
    pub period: u64,
    /// Dask's target duration in milliseconds, for the demand; `None` for the scheduler's own setting.
    pub target_duration: Option<u64>,
    /// True if the connection to the scheduler uses TLS.
    pub tls: bool,
    /// Addresses of workers to retire: they move their results to other workers and then leave.
    pub retire: Vec<String>,
}

/// The desired state that a component returns for a parent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// All desired children.
    pub children: Vec<DesiredChild>,
    /// The parent's status without conditions, as a JSON object.
    pub status: String,
    /// The parent's conditions.
    pub conditions: Vec<DesiredCondition>,
    /// Events to create about the parent.
    pub events: Vec<Event>,
    /// The owner to set on the parent; `None` leaves its owners unchanged.
    pub owner: Option<Owner>,
    /// Worker groups to scale.
    pub scale: Vec<Scale>,
    /// The reason for which the parent is to be deleted; `None` if it is not.
    pub delete_parent: Option<String>,
    /// Delay in milliseconds after which the component is to be called again, if any.
    pub requeue_after: Option<u64>,
    /// Queries for the Dask scheduler; `None` if it is not to be queried.
    pub scheduler: Option<SchedulerRequest>,
}
