//! Observations that are read from files, and plans as readable text.

use std::collections::BTreeMap;

use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::logic::PluginFailure;
use dask_operator_plugin::contract::{SchedulerFacts, SchedulerWorker, Timestamp};
use dask_operator_plugin::dask::metadata::{self, Metadata};
use dask_operator_plugin::dask::time;
use dask_operator_plugin::testing::{START, Scenario};
use dask_operator_runtime::contract::{
    Answer, ChildAction, DesiredChild, Error, Observation, ObservedKind, Plan, ResourceKind, Severity,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::native::across;

/// An observation as a file contains it. Objects are written as in a manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservationFile {
    /// The observed resource. Its `kind` selects the component.
    parent: Value,
    /// The existing children. Pods without labels get the labels that the operator sets.
    #[serde(default)]
    children: Vec<Value>,
    /// Other objects that the interface provides, such as the cluster of a worker group.
    #[serde(default)]
    related: Vec<Value>,
    /// State of the Dask scheduler. `None` if the scheduler was not queried.
    #[serde(default)]
    scheduler: Option<Scheduler>,
    /// The current time in seconds after 2026-01-01T00:00:00Z.
    #[serde(default)]
    now: i64,
    /// Settings of the component.
    #[serde(default)]
    settings: Map<String, Value>,
}

/// State of the Dask scheduler.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Scheduler {
    /// The reason why the scheduler does not answer. `None` if it answers.
    unreachable: Option<String>,
    /// Start of the time in which the scheduler answered every query. `None` stands for always.
    answers_since: Option<String>,
    #[serde(default)]
    workers: Vec<Worker>,
    desired_workers: Option<u32>,
    idle_since: Option<String>,
}

/// A registered worker: its name only, or all its properties.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Worker {
    Name(String),
    #[serde(rename_all = "camelCase")]
    Whole {
        name: String,
        address: Option<String>,
        status: Option<String>,
        #[serde(default)]
        processing: u32,
        #[serde(default)]
        managed_bytes: u64,
    },
}

impl ObservationFile {
    /// Returns the kind of the parent.
    ///
    /// # Errors
    ///
    /// Returns an error if the parent is not a Dask resource.
    pub fn kind(&self) -> Result<DaskKind, PluginFailure> {
        let kind = self.parent["kind"].as_str().unwrap_or_default();
        DaskKind::from_kind(kind).ok_or_else(|| format!("{kind:?} is not a Dask resource").into())
    }

    /// Returns the observation for a component that declares these kinds of children.
    ///
    /// # Errors
    ///
    /// Returns an error if the types of the two sides of the contract differ.
    pub fn observation(self, declared: Vec<ResourceKind>) -> Result<Observation, PluginFailure> {
        let mut scenario = Scenario::of_value(self.parent)
            .settings(&Value::Object(self.settings))
            .after(self.now * 1000);
        let labels = labels(scenario.parent(), &self.related);
        let children = self
            .children
            .into_iter()
            .map(|child| labelled(child, labels.as_ref()));
        scenario = children.fold(scenario, Scenario::child);
        scenario = self.related.into_iter().fold(scenario, Scenario::related);
        if let Some(scheduler) = self.scheduler {
            scenario = match &scheduler.unreachable {
                Some(why) => scenario.unreachable(why),
                None => scenario.scheduler(scheduler.facts(START + self.now * 1000)),
            };
        }
        let mut all: Vec<_> = scenario.observed();
        all.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        let of = |kind: ResourceKind| -> Result<ObservedKind, PluginFailure> {
            let is = |key: &dask_operator_plugin::contract::ChildKey| {
                key.kind == kind.kind && key.api_version == kind.api_version
            };
            let objects = all
                .iter()
                .filter(|object| is(&object.key))
                .map(across)
                .collect::<Result<_, _>>()?;
            Ok(ObservedKind { kind, objects })
        };
        let children = declared.into_iter().map(of).collect::<Result<_, _>>()?;
        Ok(Observation {
            children,
            ..across(&scenario.observation_without_children())?
        })
    }
}

/// Returns the labels that the operator sets on the pods of a cluster or a worker group, without those that specs add. `None`
/// for other kinds.
fn labels(parent: &Value, related: &[Value]) -> Option<BTreeMap<String, String>> {
    let name = parent["metadata"]["name"].as_str()?;
    let own = Metadata::embedded(parent.get("metadata"));
    let metadata = match parent["kind"].as_str()? {
        "DaskCluster" => own.reserved(&metadata::scheduler_labels(name)),
        "DaskWorkerGroup" => {
            let cluster = parent["spec"]["cluster"].as_str()?;
            let of_cluster = related
                .iter()
                .find(|object| object["metadata"]["name"] == cluster);
            let of_cluster = of_cluster.and_then(|object| object.get("metadata"));
            let inherited = Metadata::embedded(of_cluster).below(own);
            inherited.reserved(&metadata::worker_labels(cluster, name))
        }
        _ => return None,
    };
    Some(metadata.without_sidecar().labels)
}

/// Adds the labels to a pod without labels. Returns other children unchanged.
fn labelled(mut child: Value, labels: Option<&BTreeMap<String, String>>) -> Value {
    if child["kind"] == "Pod"
        && child["metadata"]["labels"].is_null()
        && let Some(labels) = labels
    {
        child["metadata"]["labels"] = json!(labels);
    }
    child
}

impl Scheduler {
    fn facts(self, now: Timestamp) -> SchedulerFacts {
        SchedulerFacts {
            observed_at: now,
            answers_since: self
                .answers_since
                .as_deref()
                .and_then(time::parse)
                .unwrap_or_default(),
            workers: self.workers.into_iter().map(|worker| worker.fact(now)).collect(),
            desired_workers: self.desired_workers,
            idle_since: self.idle_since.as_deref().and_then(time::parse),
        }
    }
}

impl Worker {
    fn fact(self, now: Timestamp) -> SchedulerWorker {
        let (name, address, status, processing, managed_bytes) = match self {
            Self::Name(name) => (name, None, None, 0, 0),
            Self::Whole {
                name,
                address,
                status,
                processing,
                managed_bytes,
            } => (name, address, status, processing, managed_bytes),
        };
        SchedulerWorker {
            address: address.unwrap_or_else(|| format!("tcp://{name}:40000")),
            name,
            status: status.unwrap_or_else(|| "running".to_owned()),
            processing,
            managed_bytes,
            last_seen: now,
        }
    }
}

/// Returns a component's answer as YAML. Empty parts are left out.
///
/// # Errors
///
/// Returns an error if an object in the plan is not valid JSON.
pub fn text(answer: &Answer<Plan>) -> Result<String, PluginFailure> {
    let value = match answer {
        Ok(plan) => plan_value(plan)?,
        Err(Error::Failed(text)) => json!({"failed": text}),
        Err(Error::Invalid(findings)) => {
            let line = |finding: &dask_operator_runtime::contract::Finding| {
                let severity = if finding.severity == Severity::Error {
                    "error"
                } else {
                    "warning"
                };
                format!("{severity}: {}: {}", finding.field, finding.message)
            };
            json!({"invalid": findings.iter().map(line).collect::<Vec<_>>()})
        }
    };
    Ok(serde_saphyr::to_string(&value)?)
}

fn plan_value(plan: &Plan) -> Result<Value, PluginFailure> {
    let mut value = json!({
        "children": plan.children.iter().map(|child| child_value(plan, child)).collect::<Result<Vec<_>, _>>()?,
        "status": serde_json::from_str::<Value>(&plan.status)?,
    });
    if !plan.conditions.is_empty() {
        let line = |c: &dask_operator_runtime::contract::Condition| {
            let status = across::<String>(&c.status).unwrap_or_default();
            format!("{} {status} {}: {}", c.type_, c.reason, c.message)
        };
        value["conditions"] = plan.conditions.iter().map(line).collect();
    }
    if !plan.events.is_empty() {
        let line = |e: &dask_operator_runtime::contract::Event| {
            let type_ = across::<String>(&e.type_).unwrap_or_default();
            format!("{type_} {}: {}", e.reason, e.message)
        };
        value["events"] = plan.events.iter().map(line).collect();
    }
    if let Some(owner) = &plan.owner {
        value["owner"] = json!(format!("{} {} ({})", owner.kind, owner.name, owner.uid));
    }
    if !plan.scale.is_empty() {
        value["scale"] = plan
            .scale
            .iter()
            .map(|scale| format!("{} to {}", scale.worker_group, scale.replicas))
            .collect();
    }
    if let Some(why) = &plan.delete_parent {
        value["deleteParent"] = json!(why);
    }
    if let Some(milliseconds) = plan.requeue_after {
        value["requeueAfter"] = json!(format!("{milliseconds} ms"));
    }
    if let Some(request) = &plan.scheduler {
        value["scheduler"] = across(request)?;
    }
    Ok(value)
}

fn child_value(plan: &Plan, child: &DesiredChild) -> Result<Value, PluginFailure> {
    let name = format!("{} {}", child.key.kind, child.key.name);
    let Some(text) = plan.text_of(child) else {
        return Ok(json!(format!("keep {name}")));
    };
    let object: Value = serde_json::from_str(&text)?;
    Ok(match child.action {
        ChildAction::Apply(_) => json!({format!("apply {name}"): object}),
        _ => json!({format!("create {name}"): object}),
    })
}
