//! What a component wants, as the host takes it: the contract's records with
//! owned text, so that this crate needs no WebAssembly. `wit/types.wit` says
//! what each of them means.

use std::fmt;

/// A kind of Kubernetes resource, written as in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKind {
    /// `v1`, `apps/v1`, …
    pub api_version: String,
    /// `Pod`, `Service`, …
    pub kind: String,
}

impl ResourceKind {
    /// A kind from its two parts.
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

/// What identifies a child in its parent's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildKey {
    /// Its kind.
    pub kind: ResourceKind,
    /// `metadata.name`
    pub name: String,
}

impl fmt::Display for ChildKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.kind, self.name)
    }
}

/// What shall become of one child. The texts are JSON objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stays as it is.
    Keep,
    /// It is created where it does not exist.
    Create(String),
    /// It is applied.
    Apply(String),
}

/// One child of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredChild {
    /// Which one.
    pub key: ChildKey,
    /// What shall become of it.
    pub action: Action,
}

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows.
    Unknown,
}

impl ConditionStatus {
    /// As it stands in a status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition, before the host adds times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// A word in CamelCase.
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in a word in CamelCase.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
}

/// Whether an event is worth worrying about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// It isn't.
    Normal,
    /// It is.
    Warning,
}

/// A Kubernetes event about the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Normal or warning.
    pub type_: EventType,
    /// What happened, in a word in CamelCase.
    pub reason: String,
    /// What happened, in a sentence.
    pub message: String,
}

/// An object that shall own the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its kind.
    pub kind: ResourceKind,
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`
    pub uid: String,
}

/// How many workers a worker group shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// `metadata.name` of the group.
    pub worker_group: String,
    /// Its replicas.
    pub replicas: u32,
}

/// What can be asked of the Dask scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchedulerQuestion {
    /// Which workers have registered.
    Workers,
    /// How many workers it could use.
    Demand,
    /// Since when it has had nothing to do.
    Idle,
}

/// What to ask the Dask scheduler of the parent's cluster, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerRequest {
    /// What to ask.
    pub questions: Vec<SchedulerQuestion>,
    /// Milliseconds from one question to the next.
    pub period: u64,
    /// For the demand: Dask's target duration in milliseconds.
    pub target_duration: Option<u64>,
    /// Whether it is reached by TLS.
    pub tls: bool,
    /// Addresses of workers that shall hand on what they hold and leave.
    pub retire: Vec<String>,
}

/// What shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// All children that shall exist.
    pub children: Vec<DesiredChild>,
    /// The parent's status without conditions: a JSON object.
    pub status: String,
    /// The parent's conditions.
    pub conditions: Vec<Condition>,
    /// What to tell people.
    pub events: Vec<Event>,
    /// Who shall own the parent.
    pub owner: Option<Owner>,
    /// Worker groups to scale.
    pub scale: Vec<Scale>,
    /// Delete the parent; the text says why.
    pub delete_parent: Option<String>,
    /// Ask again after so many milliseconds.
    pub requeue_after: Option<u64>,
    /// What to ask the Dask scheduler; none leaves it alone.
    pub scheduler: Option<SchedulerRequest>,
}
