//! Observations as people write them, and plans as they read them.
//!
//! Objects are written as in a manifest; what only the API server gives them (namespace, uid) is filled in.

use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::{
    ChildAction, ChildKey, ConditionStatus, EventType, Observation, ObservedKind, ObservedObject, Plan,
    ResourceKind, SchedulerFacts, SchedulerState, SchedulerWorker, Timestamp,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// An observation in a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservationFile {
    /// The resource that is planned; its `kind` says by which logic.
    pub parent: Value,
    /// Its children that exist.
    #[serde(default)]
    pub children: Vec<Value>,
    /// Other objects that the interface promises.
    #[serde(default)]
    pub related: Vec<Value>,
    /// What the Dask scheduler said; nothing where it was not asked.
    #[serde(default)]
    pub scheduler: Option<Scheduler>,
}

/// What the Dask scheduler said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scheduler {
    /// It does not answer, and why.
    unreachable: Option<String>,
    /// Since when it has answered each time, as `2026-01-31T12:00:00Z`; always, where it is left out.
    answers_since: Option<String>,
    /// The workers that have registered.
    #[serde(default)]
    workers: Vec<Worker>,
    /// How many workers it could use.
    desired_workers: Option<u32>,
    /// Since when it has had nothing to do, as `2026-01-31T12:00:00Z`.
    idle_since: Option<String>,
}

/// A worker that has registered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Worker {
    name: String,
    address: Option<String>,
    status: Option<String>,
    #[serde(default)]
    processing: u32,
    #[serde(default)]
    managed_bytes: u64,
}

/// Reads `2026-01-31T12:00:00Z`.
///
/// # Errors
///
/// When it is no time.
pub fn time(text: &str) -> Result<Timestamp, String> {
    let parsed: Result<k8s_openapi::jiff::Timestamp, _> = text.parse();
    parsed
        .map(k8s_openapi::jiff::Timestamp::as_millisecond)
        .map_err(|_| format!("{text:?} is no time: write it as 2026-01-31T12:00:00Z"))
}

impl ObservationFile {
    /// The kind of the parent.
    ///
    /// # Errors
    ///
    /// When it is no Dask resource.
    pub fn kind(&self) -> Result<DaskKind, String> {
        let kind = self.parent["kind"].as_str().unwrap_or_default();
        DaskKind::from_kind(kind).ok_or_else(|| {
            format!(
                "the parent's kind is {kind:?}: write {}",
                DaskKind::ALL.map(DaskKind::kind).join(", ")
            )
        })
    }

    /// The observation for logic that declares these kinds of children.
    ///
    /// # Errors
    ///
    /// When a time can't be read.
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

impl Scheduler {
    fn state(&self, now: Timestamp) -> Result<SchedulerState, String> {
        if let Some(why) = &self.unreachable {
            return Ok(SchedulerState::Unreachable(why.clone()));
        }
        let worker = |worker: &Worker| SchedulerWorker {
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

/// Gives an object what the API server would have given it.
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

/// A plan as an object: `children` as the logic wants them, `scale`, `status`, `conditions`, `events`, and the rest
/// where there is any.
#[must_use]
pub fn plan_value(plan: &Plan) -> Value {
    let conditions = plan.conditions.iter().map(|condition| {
        json!({
            "type": condition.type_, "status": status_word(condition.status),
            "reason": condition.reason, "message": condition.message,
        })
    });
    let events = plan.events.iter().map(
        |event| json!({"type": type_word(event.type_), "reason": event.reason, "message": event.message}),
    );
    let scale: Map<String, Value> = plan
        .scale
        .iter()
        .map(|scale| (scale.worker_group.clone(), json!(scale.replicas)))
        .collect();
    let mut value = json!({
        "children": plan.children.iter().map(|child| child_value(&child.key, &child.action)).collect::<Vec<_>>(),
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

fn status_word(status: ConditionStatus) -> &'static str {
    match status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    }
}

fn type_word(type_: EventType) -> &'static str {
    match type_ {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    }
}

/// A child: what it shall be, with `apiVersion`, `kind` and `metadata.name`; and `action`.
fn child_value(key: &ChildKey, action: &ChildAction) -> Value {
    let (word, object) = match action {
        ChildAction::Keep => ("keep", None),
        ChildAction::Create(object) => ("create", Some(object)),
        ChildAction::Apply(object) => ("apply", Some(object)),
    };
    let mut value: Value = object
        .and_then(|object| serde_json::from_str(object).ok())
        .unwrap_or_else(|| json!({}));
    value["apiVersion"] = json!(key.api_version);
    value["kind"] = json!(key.kind);
    value["metadata"]["name"] = json!(key.name);
    // What a difference calls it.
    value["name"] = json!(format!("{} {}", key.kind, key.name));
    value["action"] = json!(word);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_has_what_the_contract_promises() {
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
            panic!("it answered")
        };
        assert_eq!(
            (facts.workers[0].address.as_str(), facts.idle_since),
            ("tcp://w:40000", Some(1_767_225_600_000))
        );
    }

    #[test]
    fn mistakes_are_sentences() {
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
