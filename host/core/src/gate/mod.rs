//! Gate: the host's validation of the plans that components return.
//!
//! The whole plan is checked before any part of it is carried out. A refused plan changes nothing. The refusal names every
//! violation and the valid value, because it is written for the author of the component.

pub mod kinds;
mod object;
mod refusal;
mod rules;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

pub use refusal::{Refusal, Violation};
pub use rules::{Limits, Rules};

use crate::conditions;
use crate::copies::Template;
use crate::parent::{DaskKind, Parent};
use crate::plan::{
    Action, ChildKey, DesiredChild, DesiredCondition, Event, Owner, Plan, ResourceKind, Scale,
    SchedulerRequest,
};
use crate::raw_object::RawObject;
use crate::rfc1123;
use crate::text;

/// The observed state that a plan is checked against.
pub trait Observed {
    /// Returns whether this child was in the observation that the component received.
    fn has_child(&self, key: &ChildKey) -> bool;
    /// Returns whether a worker group of that name exists in the parent's namespace and belongs to the parent's cluster.
    fn has_worker_group(&self, name: &str) -> bool;
    /// Returns the addresses of the Dask workers in the observation that the component received.
    fn dask_workers(&self) -> HashSet<&str>;
    /// Returns whether the parent's cluster in the observation has this uid.
    fn has_cluster(&self, uid: &str) -> bool;
}

/// An empty observed state, in which no child, worker group, Dask worker or cluster exists.
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

/// A child that passed the gate.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedChild {
    /// Kind and name of the child.
    pub key: ChildKey,
    /// The action for the child.
    pub action: CheckedAction,
}

/// The action for a child that passed the gate.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckedAction {
    /// The child stays as it is.
    Keep,
    /// This object is created if the child does not exist.
    Create(RawObject),
    /// A copy of this template is created if the child does not exist.
    Copy(Arc<Template>),
    /// This object is applied.
    Apply(Map<String, Value>),
}

/// A plan that passed the gate.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedPlan {
    /// The children, in the component's order.
    pub children: Vec<CheckedChild>,
    /// The parent's status, without conditions.
    pub status: Map<String, Value>,
    /// The parent's conditions.
    pub conditions: Vec<DesiredCondition>,
    /// Events to create about the parent.
    pub events: Vec<Event>,
    /// The owner to set on the parent, if any.
    pub owner: Option<Owner>,
    /// Worker groups to scale.
    pub scale: Vec<Scale>,
    /// The reason for which the parent is deleted; `None` if it is not deleted.
    pub delete_parent: Option<String>,
    /// Delay in milliseconds after which the component is called again, if any.
    pub requeue_after: Option<u64>,
    /// Queries for the Dask scheduler, if any.
    pub scheduler: Option<SchedulerRequest>,
}

/// Maximum number of questions in a scheduler request. Three different ones exist.
const MAX_QUESTIONS: usize = 10;

/// Maximum length in bytes of the reason for the deletion of the parent; a longer one is cut.
const MAX_DELETION_REASON_BYTES: usize = 1024;

/// Checks a plan for `parent`.
///
/// # Errors
///
/// Returns a refusal if the plan violates a rule. It contains up to a hundred violations.
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
        tree_bytes: 0,
    };
    let children = gate.check_children(observed, plan.children);
    let status = gate.check_status(&plan.status);
    gate.check_conditions(&plan.conditions);
    gate.check_events(&plan.events);
    gate.check_owner(observed, plan.owner.as_ref());
    gate.check_scale(observed, &plan.scale);
    gate.check_scheduler(observed, plan.scheduler.as_ref());
    if gate.refusal.violations.is_empty() {
        Ok(CheckedPlan {
            children,
            status,
            conditions: plan.conditions,
            events: plan.events,
            owner: plan.owner,
            scale: plan.scale,
            delete_parent: plan
                .delete_parent
                .map(|reason| text::line(&reason, MAX_DELETION_REASON_BYTES)),
            requeue_after: plan.requeue_after,
            scheduler: plan.scheduler,
        })
    } else {
        Err(gate.refusal)
    }
}

/// The state of a check: the rules and the violations found so far.
struct Gate<'a> {
    parent: &'a Parent,
    rules: &'a Rules<'a>,
    allowed: Vec<ResourceKind>,
    refusal: Refusal,
    /// Bytes of memory that the parsed JSON of the children so far takes.
    tree_bytes: usize,
}

impl Gate<'_> {
    fn refuse(&mut self, child: Option<&ChildKey>, field: impl AsRef<str>, message: impl AsRef<str>) {
        self.refusal.add(child, field.as_ref(), message.as_ref());
    }

    fn check_children(&mut self, observed: &impl Observed, children: Vec<DesiredChild>) -> Vec<CheckedChild> {
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
        let mut templates = HashMap::new();
        (0..children.len())
            .filter_map(|index| self.check_child(observed, &children, index, &mut templates))
            .collect()
    }

    /// Checks the child at `index`. `templates` contains the templates so far by the indices of the children from which they
    /// were made, or `None` for a child that can't be copied.
    fn check_child(
        &mut self,
        observed: &impl Observed,
        children: &[DesiredChild],
        index: usize,
        templates: &mut HashMap<usize, Option<Arc<Template>>>,
    ) -> Option<CheckedChild> {
        let DesiredChild { key, action } = &children[index];
        self.check_kind(key);
        self.check_name(key);
        let action = match action {
            Action::Keep => {
                if !observed.has_child(key) {
                    let message = "can't be kept: it was not in the observation; use `create` or `apply`";
                    self.refuse(Some(key), "", message);
                }
                CheckedAction::Keep
            }
            Action::Create(text) => CheckedAction::Create(self.check_created(key, text)?),
            Action::Copy(original) => {
                let text = self.check_original(key, *original, &children[..index])?;
                let template = templates
                    .entry(*original)
                    .or_insert_with(|| self.check_template(&children[*original].key, text));
                CheckedAction::Copy(template.clone()?)
            }
            Action::Apply(text) => CheckedAction::Apply(self.check_applied(key, text)?),
        };
        Some(CheckedChild {
            key: key.clone(),
            action,
        })
    }

    /// Returns the text of the object that a child copies. `earlier` are the children before it.
    fn check_original<'c>(
        &mut self,
        key: &ChildKey,
        original: usize,
        earlier: &'c [DesiredChild],
    ) -> Option<&'c str> {
        let message = match earlier.get(original) {
            Some(DesiredChild {
                key: copied,
                action: Action::Create(text),
            }) if copied.kind == key.kind => return Some(text),
            Some(DesiredChild {
                key: copied,
                action: Action::Create(_),
            }) => format!("can't copy {copied}, which has another kind"),
            Some(other) => format!("can't copy {}: its action is not `create`", other.key),
            None => format!(
                "can't copy the child at index {original}: only {} come before it",
                earlier.len()
            ),
        };
        self.refuse(Some(key), "", message);
        None
    }

    fn check_kind(&mut self, key: &ChildKey) {
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

    fn check_name(&mut self, key: &ChildKey) {
        let name = &key.name;
        if key.kind.kind == "Service" {
            if !rfc1123::is_label(name) {
                let message = format!(
                    "{name:?} is no name for a Service: write at most 63 of a-z, 0-9 and -, \
                     with a letter or digit at both ends"
                );
                self.refuse(Some(key), "metadata.name", message);
            }
        } else if !rfc1123::is_subdomain(name) {
            let message = format!(
                "{name:?} is no name: write at most 253 of a-z, 0-9, - and ., with a letter or digit at both ends"
            );
            self.refuse(Some(key), "metadata.name", message);
        }
    }

    /// Returns the parsed status, or an empty map if it is refused.
    fn check_status(&mut self, text: &str) -> Map<String, Value> {
        let max = self.rules.limits.status_bytes;
        if text.len() > max {
            let message = format!("{} bytes of JSON; at most {max} are allowed", text.len());
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

    fn check_conditions(&mut self, conditions: &[DesiredCondition]) {
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
        let bytes = |condition: &DesiredCondition| {
            condition.type_.len() + condition.reason.len() + condition.message.len()
        };
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
            if !conditions::is_type(type_) {
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
            if !conditions::is_reason(&condition.reason) {
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
                    "is longer than 32768 bytes; write a shorter message",
                );
            }
        }
    }

    fn check_events(&mut self, events: &[Event]) {
        if events.len() > 100 {
            self.refuse(
                None,
                "events",
                format!("has {}; at most 100 are allowed", events.len()),
            );
        }
        for (i, event) in events.iter().take(100).enumerate() {
            if !conditions::is_reason(&event.reason) {
                let message = format!("{:?} is no word; write a reason such as Scaled", event.reason);
                self.refuse(None, format!("events[{i}].reason"), message);
            }
        }
    }

    fn check_owner(&mut self, observed: &impl Observed, owner: Option<&Owner>) {
        let Some(owner) = owner else { return };
        let is_allowed = match self.parent.kind {
            DaskKind::WorkerGroup | DaskKind::Autoscaler => {
                owner.kind == ResourceKind::new(crate::names::DASK_API_VERSION, DaskKind::Cluster.kind())
                    && owner.name == self.parent.cluster
            }
            DaskKind::Cluster | DaskKind::Job => false,
        };
        if !is_allowed {
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
        // The garbage collector deletes an object whose owner does not exist.
        if is_allowed && !observed.has_cluster(&owner.uid) {
            let message = format!(
                "{:?} is not the uid of DaskCluster {} in the observation; write that",
                owner.uid, owner.name
            );
            self.refuse(None, "owner.uid", message);
        }
    }

    fn check_scale(&mut self, observed: &impl Observed, scale: &[Scale]) {
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

    fn check_scheduler(&mut self, observed: &impl Observed, request: Option<&SchedulerRequest>) {
        let Some(request) = request else { return };
        if request.questions.is_empty() && request.retire.is_empty() {
            let message = "is empty; name a question, or leave the request out";
            self.refuse(None, "scheduler.questions", message);
        }
        if self.parent.kind != DaskKind::WorkerGroup && !request.retire.is_empty() {
            let message = format!(
                "a {} can't retire workers; only the DaskWorkerGroup that they belong to can",
                self.parent.kind.kind()
            );
            self.refuse(None, "scheduler.retire", message);
        }
        if request.questions.len() > MAX_QUESTIONS {
            let message = format!("has {}; write each question once", request.questions.len());
            self.refuse(None, "scheduler.questions", message);
        }
        if request.retire.is_empty() {
            return;
        }
        let max = self.rules.limits.children;
        if request.retire.len() > max {
            let message = format!("has {}; at most {max} are allowed", request.retire.len());
            self.refuse(None, "scheduler.retire", message);
            return;
        }
        let known = observed.dask_workers();
        for address in request
            .retire
            .iter()
            .filter(|address| !known.contains(address.as_str()))
        {
            let message = "no worker in the observation has this address";
            self.refuse(None, format!("scheduler.retire[{address}]"), message);
        }
    }
}

/// Returns the JSON of the object to create or apply, or `None` for `Keep`.
fn object_text(action: &Action) -> Option<&str> {
    match action {
        Action::Keep | Action::Copy(_) => None,
        Action::Create(text) | Action::Apply(text) => Some(text),
    }
}

#[cfg(test)]
mod tests;
