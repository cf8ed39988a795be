//! Native tests of a plugin: a [`Scenario`] builds an observation from manifests, and an [`Outcome`] gives access to the
//! plan.
//!
//! ```
//! use dask_operator_plugin::{prelude::*, testing::Scenario};
//! # struct Mine;
//! # impl Plugin for Mine {
//! #     const NAME: &str = "mine"; const VERSION: &str = "1"; const SUMMARY: &str = ""; type Settings = NoSettings;
//! # }
//! # impl Logic<Cluster> for Mine {
//! #     fn child_kinds(_: &NoSettings) -> Vec<ResourceKind> { vec![ResourceKind::new("v1", "Service")] }
//! #     fn plan(observation: &Observation, _: &NoSettings) -> Result<Plan, Error> {
//! #         let key = ResourceKind::new("v1", "Service").key("simple-scheduler");
//! #         let child = DesiredChild::create(key, json!({"spec": {"type": "ClusterIP"}}));
//! #         Ok(Plan { children: vec![child], ..Plan::default() })
//! #     }
//! # }
//! let scenario = Scenario::of("{kind: DaskCluster, metadata: {name: simple}, spec: {}}");
//! let plan = scenario.plan::<Cluster, Mine>().expect("a plan");
//! assert_eq!(plan.object("Service", "simple-scheduler").expect("a Service")["spec"]["type"], "ClusterIP");
//! ```

use serde_json::{Value, json};

use crate::contract::{
    ChildAction, ChildKey, DesiredChild, Error, Observation, ObservedKind, ObservedObject, Plan,
    SchedulerFacts, SchedulerState, SchedulerWorker, Timestamp, object_of,
};
#[cfg(not(target_arch = "wasm32"))]
use crate::log::{self, Level};
use crate::{Logic, export};

/// The observation of a test. Panics if a value can't be parsed, because that is an error in the test.
#[derive(Debug, Clone)]
pub struct Scenario {
    parent: Value,
    children: Vec<Value>,
    related: Vec<Value>,
    scheduler: SchedulerState,
    now: Timestamp,
    seed: u64,
    settings: String,
}

/// Start time of every scenario: 2026-01-01T00:00:00Z.
pub const START: Timestamp = 1_767_225_600_000;

/// Default UID of the parent.
pub const PARENT_UID: &str = "00000000-0000-4000-8000-000000000001";

/// Returns facts of a scheduler at a time, with these workers and nothing else.
pub fn answer(at: Timestamp, workers: Vec<SchedulerWorker>) -> SchedulerFacts {
    SchedulerFacts {
        observed_at: at,
        answers_since: 0,
        workers,
        desired_workers: None,
        idle_since: None,
    }
}

/// Returns a registered worker without tasks and results.
pub fn worker(name: impl Into<String>, address: impl Into<String>) -> SchedulerWorker {
    SchedulerWorker {
        address: address.into(),
        name: name.into(),
        status: "running".to_owned(),
        processing: 0,
        managed_bytes: 0,
        last_seen: START,
    }
}

/// Parses a YAML or JSON document.
///
/// # Panics
///
/// Panics if the document is invalid.
pub fn yaml(text: &str) -> Value {
    match serde_saphyr::from_str(text) {
        Ok(value) => value,
        Err(error) => panic!("the test's YAML can't be read: {error}\n{text}"),
    }
}

impl Scenario {
    /// Creates a scenario from the manifest of the parent, without children.
    pub fn of(manifest: &str) -> Self {
        Self::of_value(yaml(manifest))
    }

    /// Creates a scenario from the parent, without children.
    pub fn of_value(mut parent: Value) -> Self {
        identify(&mut parent, PARENT_UID);
        Self {
            parent,
            children: Vec::new(),
            related: Vec::new(),
            scheduler: SchedulerState::NotAsked,
            now: START,
            seed: 1,
            settings: "{}".to_owned(),
        }
    }

    /// Adds an existing child, with `apiVersion`, `kind` and `metadata.name`.
    #[must_use]
    pub fn child(mut self, object: Value) -> Self {
        self.children.push(object);
        self
    }

    /// Adds a related object.
    #[must_use]
    pub fn related(mut self, object: Value) -> Self {
        self.related.push(object);
        self
    }

    /// Adds a related object and removes the one with the same kind and name.
    #[must_use]
    pub fn related_instead(mut self, object: Value) -> Self {
        self.related.retain(|other| key(other) != key(&object));
        self.related(object)
    }

    /// Sets the parent's status.
    #[must_use]
    pub fn status(mut self, status: Value) -> Self {
        self.parent["status"] = status;
        self
    }

    /// Changes the parent with a function.
    #[must_use]
    pub fn change(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.parent);
        self
    }

    /// Sets the component's settings.
    #[must_use]
    pub fn settings(mut self, settings: &Value) -> Self {
        self.settings = settings.to_string();
        self
    }

    /// Sets the facts of the Dask scheduler.
    #[must_use]
    pub fn scheduler(mut self, facts: SchedulerFacts) -> Self {
        self.scheduler = SchedulerState::Facts(facts);
        self
    }

    /// Makes the Dask scheduler unreachable, with the reason.
    #[must_use]
    pub fn unreachable(mut self, reason: &str) -> Self {
        self.scheduler = SchedulerState::Unreachable(reason.to_owned());
        self
    }

    /// Sets the time to this number of milliseconds after [`START`].
    #[must_use]
    pub fn after(mut self, milliseconds: i64) -> Self {
        self.now = START + milliseconds;
        self
    }

    /// Sets the seed for names.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Returns the parent.
    pub fn parent(&self) -> &Value {
        &self.parent
    }

    /// Returns the existing children.
    pub fn children(&self) -> &[Value] {
        &self.children
    }

    /// Returns the existing children as the plugin observes them.
    pub fn observed(&self) -> Vec<ObservedObject> {
        self.children.iter().map(observed).collect()
    }

    /// Returns the observation without children.
    pub fn observation_without_children(&self) -> Observation {
        Observation {
            parent: self.parent.to_string(),
            children: Vec::new(),
            related: self.related.iter().map(self::observed).collect(),
            scheduler: self.scheduler.clone(),
            now: self.now,
            seed: self.seed,
            settings: self.settings.clone(),
        }
    }

    /// Returns the observation that the plugin receives.
    pub fn observation<I, P: Logic<I>>(&self) -> Observation {
        let observed = self.observed();
        let children = export::child_kinds::<I, P>(&self.settings)
            .into_iter()
            .map(|kind| {
                let of_kind = |child: &&ObservedObject| {
                    child.key.kind == kind.kind && child.key.api_version == kind.api_version
                };
                let mut objects: Vec<ObservedObject> = observed.iter().filter(of_kind).cloned().collect();
                objects.sort_by(|a, b| a.key.name.cmp(&b.key.name));
                ObservedKind { kind, objects }
            });
        Observation {
            children: children.collect(),
            ..self.observation_without_children()
        }
    }

    /// Returns the plugin's plan.
    ///
    /// # Errors
    ///
    /// Returns the error of the plugin.
    pub fn plan<I, P: Logic<I>>(&self) -> Result<Outcome, Error> {
        export::plan::<I, P>(&self.observation::<I, P>()).map(Outcome)
    }

    /// Returns the scenario after the plan was carried out: children that are not in the plan are removed, planned children
    /// exist, and the parent has the new status and conditions. The new children have no status.
    ///
    /// # Panics
    ///
    /// Panics if the plan keeps a child that does not exist.
    #[must_use]
    pub fn with(mut self, plan: &Outcome) -> Self {
        let existing = std::mem::take(&mut self.children);
        for child in &plan.0.children {
            let before = existing.iter().find(|object| key(object) == child.key);
            let object = match (&child.action, before) {
                (ChildAction::Keep | ChildAction::Create(_) | ChildAction::Copy(_), Some(before)) => {
                    before.clone()
                }
                (ChildAction::Keep, None) => panic!("the plan keeps {:?}, which does not exist", child.key),
                (_, before) => {
                    let object = plan.object_of(child);
                    let object = object.unwrap_or_else(|| panic!("{:?} copies no other child", child.key));
                    applied(&child.key, object, before, self.now)
                }
            };
            self.children.push(object);
        }
        let mut status = plan.status();
        let before = self.parent["status"]["conditions"].take();
        let conditions = plan.0.conditions.iter();
        status["conditions"] = conditions
            .map(|condition| stored(condition, &before, self.now))
            .collect();
        self.parent["status"] = status;
        self
    }
}

/// Returns a condition in its stored form, with the time of the last transition.
fn stored(condition: &crate::contract::Condition, before: &Value, now: Timestamp) -> Value {
    let status = format!("{:?}", condition.status)
        .rsplit("::")
        .next()
        .unwrap_or_default()
        .to_owned();
    let is_same = |before: &&Value| before["type"] == condition.type_ && before["status"] == status;
    let since = before.as_array().into_iter().flatten().find(is_same);
    let since = since.and_then(|before| before["lastTransitionTime"].as_str());
    let since = since.map_or_else(|| crate::dask::time::format(now), str::to_owned);
    json!({
        "type": condition.type_, "status": status, "reason": condition.reason, "message": condition.message,
        "lastTransitionTime": since,
    })
}

fn applied(key: &ChildKey, mut object: Value, before: Option<&Value>, now: Timestamp) -> Value {
    object["apiVersion"] = json!(key.api_version);
    object["kind"] = json!(key.kind);
    object["metadata"]["name"] = json!(key.name);
    object["metadata"]["uid"] = json!(format!("uid-of-{}", key.name));
    object["metadata"]["creationTimestamp"] = json!(crate::dask::time::format(now));
    match before {
        // Only metadata can be applied to a pod. Without a spec in the plan, the existing one stays for other kinds as well.
        Some(before) if key.kind == "Pod" || object["spec"].is_null() => {
            let mut pod = before.clone();
            let created = before["metadata"]["creationTimestamp"].clone();
            merge(&mut pod["metadata"], &object["metadata"]);
            pod["metadata"]["creationTimestamp"] = created;
            pod
        }
        Some(before) => {
            object["status"] = before["status"].clone();
            object
        }
        None => object,
    }
}

/// Merges all members of `new` into `value`.
fn merge(value: &mut Value, new: &Value) {
    match (value, new) {
        (Value::Object(members), Value::Object(new)) => {
            for (name, new) in new {
                merge(members.entry(name.clone()).or_insert(Value::Null), new);
            }
        }
        (value, new) => *value = new.clone(),
    }
}

fn key(object: &Value) -> ChildKey {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ChildKey {
        api_version: text(&object["apiVersion"]),
        kind: text(&object["kind"]),
        name: text(&object["metadata"]["name"]),
    }
}

fn observed(object: &Value) -> ObservedObject {
    let mut object = object.clone();
    let key = key(&object);
    identify(&mut object, &format!("uid-of-{}", key.name));
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let terminating = object["metadata"]["deletionTimestamp"].is_string();
    if key.kind == "Pod" {
        object["spec"] = json!({"nodeName": object["spec"]["nodeName"]});
    }
    ObservedObject {
        key,
        uid,
        terminating,
        object: object.to_string(),
    }
}

/// Adds the fields that the API server sets.
fn identify(object: &mut Value, uid: &str) {
    for (field, value) in [("namespace", "default"), ("uid", uid)] {
        if object["metadata"][field].is_null() {
            object["metadata"][field] = json!(value);
        }
    }
}

/// A plan, with accessors for tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome(pub Plan);

impl Outcome {
    /// Returns a child by kind and name.
    pub fn child(&self, kind: &str, name: &str) -> Option<&DesiredChild> {
        self.0
            .children
            .iter()
            .find(|child| child.key.kind == kind && child.key.name == name)
    }

    /// Returns the object of a planned child. Returns `None` if there is no such child, or if it is kept as it is.
    pub fn object(&self, kind: &str, name: &str) -> Option<Value> {
        self.object_of(self.child(kind, name)?)
    }

    /// Returns the object of a child of this plan. Returns `None` if the child is kept as it is.
    ///
    /// # Panics
    ///
    /// Panics if the object is not valid JSON.
    pub fn object_of(&self, child: &DesiredChild) -> Option<Value> {
        object_of(&self.0.children, child).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns all children as `keep Pod name`, in the order of the plan.
    pub fn summary(&self) -> Vec<String> {
        let line = |child: &DesiredChild| {
            let action = match child.action {
                ChildAction::Keep => "keep",
                ChildAction::Create(_) | ChildAction::Copy(_) => "create",
                ChildAction::Apply(_) => "apply",
            };
            format!("{action} {} {}", child.key.kind, child.key.name)
        };
        self.0.children.iter().map(line).collect()
    }

    /// Returns the parent's status.
    pub fn status(&self) -> Value {
        yaml(&self.0.status)
    }

    /// Returns a condition as `True Reason: message`.
    pub fn condition(&self, type_: &str) -> Option<String> {
        let condition = self
            .0
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_)?;
        Some(
            format!(
                "{:?} {}: {}",
                condition.status, condition.reason, condition.message
            )
            .replace("ConditionStatus::", ""),
        )
    }

    /// Returns all events as `Reason: message`.
    pub fn events(&self) -> Vec<String> {
        self.0
            .events
            .iter()
            .map(|event| format!("{}: {}", event.reason, event.message))
            .collect()
    }
}

/// Runs a function and returns its result and the messages that it logged.
#[cfg(not(target_arch = "wasm32"))]
pub fn capture_log<T>(run: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
    log::begin_capture();
    let result = run();
    (result, log::end_capture())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_the_log() {
        let ((), lines) = capture_log(|| crate::log::warn("careful"));
        assert_eq!(lines, [(Level::Warn, "careful".to_owned())]);
    }
}
