//! Hand-written observations, and plans in a readable form. Pure.
//!
//! Objects are written as in a manifest. The fields that only the API server sets (namespace, uid) are filled in.

use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::{
    ChildAction, ConditionStatus, DesiredChild, EventType, Observation, ObservedKind, ObservedObject, Plan,
    ResourceKind, SchedulerFacts, SchedulerState, SchedulerWorker, Timestamp,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A hand-written observation, as a file contains it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservationFile {
    /// The resource that is planned. Its `kind` selects the logic.
    pub parent: Value,
    /// The existing children of the resource.
    #[serde(default)]
    pub children: Vec<Value>,
    /// Other objects that the interface provides, such as the cluster of a worker group.
    #[serde(default)]
    pub related: Vec<Value>,
    /// State of the Dask scheduler. `None` if the scheduler was not queried.
    #[serde(default)]
    pub scheduler: Option<SchedulerInput>,
}

/// State of the Dask scheduler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SchedulerInput {
    /// The reason why the scheduler does not answer. `None` if it answers.
    unreachable: Option<String>,
    /// Start of the time in which the scheduler answered every query, as `2026-01-31T12:00:00Z`. `None` stands for always.
    answers_since: Option<String>,
    /// The registered workers.
    #[serde(default)]
    workers: Vec<WorkerInput>,
    /// Number of workers that the scheduler could use.
    desired_workers: Option<u32>,
    /// Start of the time in which the scheduler has been idle, as `2026-01-31T12:00:00Z`. `None` if it is busy.
    idle_since: Option<String>,
}

/// A registered worker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WorkerInput {
    name: String,
    address: Option<String>,
    status: Option<String>,
    #[serde(default)]
    processing: u32,
    #[serde(default)]
    managed_bytes: u64,
}

/// Parses a time such as `2026-01-31T12:00:00Z`.
///
/// # Errors
///
/// Returns an error if the text is not a time.
pub fn time(text: &str) -> Result<Timestamp, String> {
    let parsed: Result<k8s_openapi::jiff::Timestamp, _> = text.parse();
    parsed
        .map(k8s_openapi::jiff::Timestamp::as_millisecond)
        .map_err(|_| format!("{text:?} is not a time: write it as 2026-01-31T12:00:00Z"))
}

impl ObservationFile {
    /// Returns the kind of the parent.
    ///
    /// # Errors
    ///
    /// Returns an error if the parent is not a Dask resource.
    pub fn kind(&self) -> Result<DaskKind, String> {
        let kind = self.parent["kind"].as_str().unwrap_or_default();
        DaskKind::from_kind(kind).ok_or_else(|| {
            format!(
                "the parent's kind is {kind:?}: write {}",
                DaskKind::ALL.map(DaskKind::kind).join(", ")
            )
        })
    }

    /// Returns the observation for logic that declares these kinds of children.
    ///
    /// # Errors
    ///
    /// Returns an error if a time in the file is not valid.
    pub fn observation(
        &self,
        declared: Vec<ResourceKind>,
        now: Timestamp,
        settings: &str,
    ) -> Result<Observation, String> {
        let mut parent = self.parent.clone();
        identify(&mut parent);
        let mut children: Vec<ObservedObject> = self.children.iter().map(observed).collect();
        children.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        let of = |kind: ResourceKind| {
            let is = |object: &&ObservedObject| {
                object.key.kind == kind.kind && object.key.api_version == kind.api_version
            };
            let objects = children.iter().filter(is).cloned().collect();
            ObservedKind { kind, objects }
        };
        let seed = dask_operator_core::parent::seed(parent["metadata"]["uid"].as_str().unwrap_or_default());
        Ok(Observation {
            parent: parent.to_string(),
            children: declared.into_iter().map(of).collect(),
            related: self.related.iter().map(observed).collect(),
            scheduler: match &self.scheduler {
                None => SchedulerState::NotAsked,
                Some(scheduler) => scheduler.state(now)?,
            },
            now,
            seed,
            settings: settings.to_owned(),
        })
    }
}

impl SchedulerInput {
    fn state(&self, now: Timestamp) -> Result<SchedulerState, String> {
        if let Some(why) = &self.unreachable {
            return Ok(SchedulerState::Unreachable(why.clone()));
        }
        let worker = |worker: &WorkerInput| SchedulerWorker {
            address: worker
                .address
                .clone()
                .unwrap_or_else(|| format!("tcp://{}:40000", worker.name)),
            name: worker.name.clone(),
            status: worker.status.clone().unwrap_or_else(|| "running".to_owned()),
            processing: worker.processing,
            managed_bytes: worker.managed_bytes,
            last_seen: now,
        };
        Ok(SchedulerState::Facts(SchedulerFacts {
            observed_at: now,
            answers_since: self
                .answers_since
                .as_deref()
                .map(time)
                .transpose()?
                .unwrap_or_default(),
            workers: self.workers.iter().map(worker).collect(),
            desired_workers: self.desired_workers,
            idle_since: self.idle_since.as_deref().map(time).transpose()?,
        }))
    }
}

/// Sets the namespace and the uid of an object if they are missing, as the API server would.
fn identify(object: &mut Value) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let uid = format!("uid-of-{name}");
    for (field, value) in [("namespace", "default"), ("uid", uid.as_str())] {
        if object["metadata"][field].is_null() {
            object["metadata"][field] = json!(value);
        }
    }
}

fn observed(object: &Value) -> ObservedObject {
    let mut object = object.clone();
    identify(&mut object);
    if object["kind"] == "Pod" {
        object["spec"] = json!({"nodeName": object["spec"]["nodeName"]});
    }
    ObservedObject::of(&object)
}

/// Returns a plan as an object: the desired `children`, `scale`, `status`, `conditions`, `events`, and if they are set,
/// `deleteParent` and `requeueAfterMilliseconds`.
#[must_use]
pub fn plan_value(plan: &Plan) -> Value {
    let conditions = plan.conditions.iter().map(|condition| {
        json!({
            "type": condition.type_, "status": status_name(condition.status),
            "reason": condition.reason, "message": condition.message,
        })
    });
    let events = plan.events.iter().map(
        |event| json!({"type": type_name(event.type_), "reason": event.reason, "message": event.message}),
    );
    let scale: Map<String, Value> = plan
        .scale
        .iter()
        .map(|scale| (scale.worker_group.clone(), json!(scale.replicas)))
        .collect();
    let mut value = json!({
        "children": plan.children.iter().map(|child| child_value(plan, child)).collect::<Vec<_>>(),
        "status": serde_json::from_str::<Value>(&plan.status).unwrap_or_default(),
        "conditions": conditions.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
        "scale": scale,
    });
    if let Some(why) = &plan.delete_parent {
        value["deleteParent"] = json!(why);
    }
    if let Some(milliseconds) = plan.requeue_after {
        value["requeueAfterMilliseconds"] = json!(milliseconds);
    }
    value
}

fn status_name(status: ConditionStatus) -> &'static str {
    match status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    }
}

fn type_name(type_: EventType) -> &'static str {
    match type_ {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    }
}

/// Returns the desired object of a child of a plan with `apiVersion`, `kind` and `metadata.name`, and the `action`.
fn child_value(plan: &Plan, child: &DesiredChild) -> Value {
    let DesiredChild { key, action } = child;
    let object = plan.text_of(child);
    let mut value: Value = object
        .and_then(|object| serde_json::from_str(&object).ok())
        .unwrap_or_else(|| json!({}));
    value["apiVersion"] = json!(key.api_version);
    value["kind"] = json!(key.kind);
    value["metadata"]["name"] = json!(key.name);
    // Differences refer to list elements by this name.
    value["name"] = json!(format!("{} {}", key.kind, key.name));
    value["action"] = json!(match action {
        ChildAction::Keep => "keep",
        ChildAction::Create(_) | ChildAction::Copy(_) => "create",
        ChildAction::Apply(_) => "apply",
    });
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_are_completed_as_the_contract_requires() {
        let file: ObservationFile = serde_json::from_value(json!({
            "parent": {"kind": "DaskWorkerGroup", "metadata": {"name": "g"}, "spec": {}},
            "children": [
                {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b", "deletionTimestamp": "now"}, "spec": {"a": 1}},
                {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}},
                {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"}},
            ],
            "scheduler": {"workers": [{"name": "w"}], "idleSince": "2026-01-01T00:00:00Z"},
        }))
        .expect("a file");
        assert_eq!(file.kind(), Ok(DaskKind::WorkerGroup));
        let pods = ResourceKind {
            api_version: "v1".into(),
            kind: "Pod".into(),
        };
        let observation = file.observation(vec![pods], 7, "{}").expect("an observation");
        let objects = &observation.children[0].objects;
        assert_eq!(
            objects
                .iter()
                .map(|object| object.key.name.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert!(
            objects[1].terminating && !objects[1].object.contains("\"a\":1"),
            "{:?}",
            objects[1]
        );
        let SchedulerState::Facts(facts) = &observation.scheduler else {
            panic!("no scheduler facts")
        };
        assert_eq!(
            (facts.workers[0].address.as_str(), facts.idle_since),
            ("tcp://w:40000", Some(1_767_225_600_000))
        );
    }

    #[test]
    fn mistakes_are_explained() {
        let unknown: Result<ObservationFile, _> = serde_json::from_value(json!({"parent": {}, "child": []}));
        assert!(unknown.is_err());
        let file: ObservationFile =
            serde_json::from_value(json!({"parent": {"kind": "Pod"}})).expect("a file");
        assert!(
            file.kind()
                .is_err_and(|error| error.contains("write DaskCluster"))
        );
        assert!(time("tomorrow").is_err_and(|error| error.contains("write it as")));
    }
}
