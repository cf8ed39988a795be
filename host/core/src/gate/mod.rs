//! The host's veto, whatever a component says.
//!
//! All of a plan is checked before any of it is done. A refused plan changes
//! nothing and names everything that is wrong with it, each with what to write
//! instead, because the person who reads it is the component's author.

pub mod kinds;
mod object;
mod refusal;
mod rules;
pub mod words;

use std::collections::HashSet;

use serde_json::{Map, Value};

pub use refusal::{Refusal, Violation};
pub use rules::{Limits, Rules};

use crate::draft::Draft;
use crate::parent::{DaskKind, Parent};
use crate::plan::{
    Action, ChildKey, Condition, DesiredChild, Event, Owner, Plan, ResourceKind, Scale, SchedulerRequest,
};
use crate::text;

/// What is known about the world when a plan is checked.
pub trait Observed {
    /// Whether the component saw this child.
    fn has_child(&self, key: &ChildKey) -> bool;
    /// Whether a worker group of that name in the parent's namespace belongs to
    /// the parent's cluster.
    fn has_worker_group(&self, name: &str) -> bool;
    /// The addresses of the Dask workers that the component saw.
    fn dask_workers(&self) -> HashSet<&str>;
    /// Whether the parent's cluster, as the component saw it, has this uid.
    fn has_cluster(&self, uid: &str) -> bool;
}

/// Nothing exists yet: what `render` starts from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Observed for Nothing {
    fn has_child(&self, _: &ChildKey) -> bool {
        false
    }

    fn has_worker_group(&self, _: &str) -> bool {
        false
    }

    fn dask_workers(&self) -> HashSet<&str> {
        HashSet::new()
    }

    fn has_cluster(&self, _: &str) -> bool {
        false
    }
}

/// A child that passed.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedChild {
    /// Which one.
    pub key: ChildKey,
    /// What shall become of it.
    pub action: CheckedAction,
}

/// What shall become of a child that passed.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckedAction {
    /// It stays as it is.
    Keep,
    /// It is created where it does not exist.
    Create(Draft),
    /// It is applied.
    Apply(Map<String, Value>),
}

/// A plan that passed.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedPlan {
    /// Its children, in the component's order.
    pub children: Vec<CheckedChild>,
    /// The parent's status without conditions.
    pub status: Map<String, Value>,
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
    /// What to ask the Dask scheduler.
    pub scheduler: Option<SchedulerRequest>,
}

/// How many questions the Dask scheduler may be asked at once. There are three.
const QUESTIONS: usize = 10;

/// Bytes of the text that says why the parent is deleted.
const WHY_DELETED: usize = 1024;

/// Checks a plan for `parent`.
///
/// # Errors
///
/// Everything that is wrong with it, up to a hundred things.
pub fn check(
    parent: &Parent,
    rules: &Rules<'_>,
    observed: &impl Observed,
    plan: Plan,
) -> Result<CheckedPlan, Refusal> {
    let mut gate = Gate {
        parent,
        rules,
        allowed: kinds::allowed(parent.kind, rules.extra),
        refusal: Refusal::default(),
        trees: 0,
    };
    let children = gate.children(observed, plan.children);
    let status = gate.status(&plan.status);
    gate.conditions(&plan.conditions);
    gate.events(&plan.events);
    gate.owner(observed, plan.owner.as_ref());
    gate.scale(observed, &plan.scale);
    gate.scheduler(observed, plan.scheduler.as_ref());
    if gate.refusal.violations.is_empty() {
        Ok(CheckedPlan {
            children,
            status,
            conditions: plan.conditions,
            events: plan.events,
            owner: plan.owner,
            scale: plan.scale,
            delete_parent: plan.delete_parent.map(|why| text::line(&why, WHY_DELETED)),
            requeue_after: plan.requeue_after,
            scheduler: plan.scheduler,
        })
    } else {
        Err(gate.refusal)
    }
}

struct Gate<'a> {
    parent: &'a Parent,
    rules: &'a Rules<'a>,
    allowed: Vec<ResourceKind>,
    refusal: Refusal,
    /// Bytes of memory that the trees of the children so far take.
    trees: usize,
}

impl Gate<'_> {
    fn refuse(&mut self, child: Option<&ChildKey>, field: impl AsRef<str>, message: impl AsRef<str>) {
        self.refusal.add(child, field.as_ref(), message.as_ref());
    }

    fn children(&mut self, observed: &impl Observed, children: Vec<DesiredChild>) -> Vec<CheckedChild> {
        let limits = self.rules.limits;
        if children.len() > limits.children {
            let message = format!("has {}; at most {} are allowed", children.len(), limits.children);
            self.refuse(None, "children", message);
            return Vec::new();
        }
        let bytes: usize = children
            .iter()
            .filter_map(|child| object_text(&child.action))
            .map(str::len)
            .sum();
        if bytes > limits.plan_bytes {
            let message = format!("{bytes} bytes of JSON; at most {} are allowed", limits.plan_bytes);
            self.refuse(None, "children", message);
            return Vec::new();
        }
        let mut seen = HashSet::with_capacity(children.len());
        for child in &children {
            if !seen.insert(&child.key) {
                self.refuse(
                    Some(&child.key),
                    "",
                    "stands in the plan twice; each child has one entry",
                );
            }
        }
        drop(seen);
        children
            .into_iter()
            .filter_map(|child| self.child(observed, child))
            .collect()
    }

    fn child(&mut self, observed: &impl Observed, child: DesiredChild) -> Option<CheckedChild> {
        let key = child.key;
        self.kind(&key);
        self.name(&key);
        let action = match &child.action {
            Action::Keep => {
                if !observed.has_child(&key) {
                    let message = "can't be kept: it was not in the observation; use `create` or `apply`";
                    self.refuse(Some(&key), "", message);
                }
                CheckedAction::Keep
            }
            Action::Create(text) => CheckedAction::Create(self.object(&key, text)?),
            Action::Apply(text) => CheckedAction::Apply(self.tree(&key, text)?),
        };
        Some(CheckedChild { key, action })
    }

    fn kind(&mut self, key: &ChildKey) {
        if !self.allowed.contains(&key.kind) {
            let names: Vec<_> = self.allowed.iter().map(ToString::to_string).collect();
            let message = match names.as_slice() {
                [] => format!("a {} has no children", self.parent.kind.kind()),
                names => format!(
                    "{} is no kind for a child of a {}; allowed are {}",
                    key.kind,
                    self.parent.kind.kind(),
                    names.join(", ")
                ),
            };
            self.refuse(Some(key), "kind", message);
        } else if !self.rules.declared.contains(&key.kind) {
            let message = format!("{} is not declared; return it from `child-kinds`", key.kind);
            self.refuse(Some(key), "kind", message);
        }
    }

    fn name(&mut self, key: &ChildKey) {
        let name = &key.name;
        if key.kind.kind == "Service" {
            if !words::is_label(name) {
                let message = format!(
                    "{name:?} is no name for a Service: write at most 63 of a-z, 0-9 and -, \
                     with a letter or digit at both ends"
                );
                self.refuse(Some(key), "metadata.name", message);
            }
        } else if !words::is_subdomain(name) {
            let message = format!(
                "{name:?} is no name: write at most 253 of a-z, 0-9, - and ., with a letter or digit at both ends"
            );
            self.refuse(Some(key), "metadata.name", message);
        }
    }

    fn status(&mut self, text: &str) -> Map<String, Value> {
        let most = self.rules.limits.status_bytes;
        if text.len() > most {
            let message = format!("{} bytes of JSON; at most {most} are allowed", text.len());
            self.refuse(None, "status", message);
            return Map::new();
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(status)) => {
                if status.contains_key("conditions") {
                    let message = "return them in `conditions` of the plan; the host adds their times";
                    self.refuse(None, "status.conditions", message);
                }
                status
            }
            Ok(_) => {
                self.refuse(None, "status", "is no JSON object; write {} for an empty status");
                Map::new()
            }
            Err(error) => {
                self.refuse(
                    None,
                    "status",
                    format!("is no JSON ({error}); write {{}} for an empty status"),
                );
                Map::new()
            }
        }
    }

    fn conditions(&mut self, conditions: &[Condition]) {
        let limits = self.rules.limits;
        if conditions.len() > limits.conditions {
            let message = format!(
                "has {}; at most {} are allowed",
                conditions.len(),
                limits.conditions
            );
            self.refuse(None, "conditions", message);
            return;
        }
        let bytes =
            |condition: &Condition| condition.type_.len() + condition.reason.len() + condition.message.len();
        let bytes: usize = conditions.iter().map(bytes).sum();
        if bytes > limits.condition_bytes {
            let message = format!(
                "{bytes} bytes of text; at most {} are allowed",
                limits.condition_bytes
            );
            self.refuse(None, "conditions", message);
            return;
        }
        let mut seen = HashSet::new();
        for condition in conditions {
            let type_ = condition.type_.as_str();
            let at = |field: &str| format!("conditions[{type_}]{field}");
            if !words::is_condition_type(type_) {
                self.refuse(None, at(""), "is no word; write a type such as SchedulerReady");
            } else if self.rules.host_conditions.contains(&type_) {
                self.refuse(
                    None,
                    at(""),
                    "is a condition that the host writes; take another type",
                );
            } else if !seen.insert(type_) {
                self.refuse(None, at(""), "stands in the plan twice; each type has one entry");
            }
            if !words::is_reason(&condition.reason) {
                let message = format!(
                    "{:?} is no word; write a reason such as AllWorkersReady",
                    condition.reason
                );
                self.refuse(None, at(".reason"), message);
            }
            if condition.message.len() > 32_768 {
                self.refuse(
                    None,
                    at(".message"),
                    "is longer than 32768 bytes; write a sentence",
                );
            }
        }
    }

    fn events(&mut self, events: &[Event]) {
        if events.len() > 100 {
            self.refuse(
                None,
                "events",
                format!("{} events; at most 100 are allowed", events.len()),
            );
        }
        for (i, event) in events.iter().take(100).enumerate() {
            if !words::is_reason(&event.reason) {
                let message = format!("{:?} is no word; write a reason such as Scaled", event.reason);
                self.refuse(None, format!("events[{i}].reason"), message);
            }
        }
    }

    fn owner(&mut self, observed: &impl Observed, owner: Option<&Owner>) {
        let Some(owner) = owner else { return };
        let may = match self.parent.kind {
            DaskKind::WorkerGroup | DaskKind::Autoscaler => {
                owner.kind == ResourceKind::new(crate::names::DASK_API_VERSION, DaskKind::Cluster.kind())
                    && owner.name == self.parent.cluster
            }
            DaskKind::Cluster | DaskKind::Job => false,
        };
        if !may {
            let message = match self.parent.kind {
                DaskKind::WorkerGroup | DaskKind::Autoscaler => format!(
                    "is {} {}; only the DaskCluster {} can own it",
                    owner.kind, owner.name, self.parent.cluster
                ),
                DaskKind::Cluster | DaskKind::Job => {
                    format!(
                        "a {} is not owned by a plan; leave it out",
                        self.parent.kind.kind()
                    )
                }
            };
            self.refuse(None, "owner", message);
        }
        // Who has an owner that does not exist is deleted by garbage collection.
        if may && !observed.has_cluster(&owner.uid) {
            let message = format!(
                "{:?} is not the uid of DaskCluster {} in the observation; write that",
                owner.uid, owner.name
            );
            self.refuse(None, "owner.uid", message);
        }
    }

    fn scale(&mut self, observed: &impl Observed, scale: &[Scale]) {
        let mut seen = HashSet::new();
        for Scale { worker_group, .. } in scale {
            let field = format!("scale[{worker_group}]");
            if !observed.has_worker_group(worker_group) {
                let message = format!("there is no such worker group of cluster {}", self.parent.cluster);
                self.refuse(None, field, message);
            } else if !seen.insert(worker_group) {
                self.refuse(
                    None,
                    field,
                    "stands in the plan twice; each worker group has one entry",
                );
            }
        }
    }

    fn scheduler(&mut self, observed: &impl Observed, request: Option<&SchedulerRequest>) {
        let Some(request) = request else { return };
        if request.questions.is_empty() && request.retire.is_empty() {
            let message = "asks nothing; name a question, or leave the request out";
            self.refuse(None, "scheduler.questions", message);
        }
        if self.parent.kind != DaskKind::WorkerGroup && !request.retire.is_empty() {
            let message = format!(
                "a {} retires no workers; only the DaskWorkerGroup that they belong to does",
                self.parent.kind.kind()
            );
            self.refuse(None, "scheduler.retire", message);
        }
        if request.questions.len() > QUESTIONS {
            let message = format!("has {}; write each question once", request.questions.len());
            self.refuse(None, "scheduler.questions", message);
        }
        if request.retire.is_empty() {
            return;
        }
        let most = self.rules.limits.children;
        if request.retire.len() > most {
            let message = format!("has {}; at most {most} are allowed", request.retire.len());
            self.refuse(None, "scheduler.retire", message);
            return;
        }
        let known = observed.dask_workers();
        for address in request
            .retire
            .iter()
            .filter(|address| !known.contains(address.as_str()))
        {
            let message = "there was no worker with this address in the observation";
            self.refuse(None, format!("scheduler.retire[{address}]"), message);
        }
    }
}

fn object_text(action: &Action) -> Option<&str> {
    match action {
        Action::Keep => None,
        Action::Create(text) | Action::Apply(text) => Some(text),
    }
}

#[cfg(test)]
mod tests;
