//! The default worker group of a cluster, and the summary of all its groups.

use dask_operator_plugin::dask::conditions::{ScaleDownBlocked, WorkersReady, WorkersUpToDate};
use dask_operator_plugin::dask::metadata::{
    self, ANNOTATION_CLUSTER_REPLICAS, COMPONENT_WORKER_GROUP, LABEL_CLUSTER, LABEL_COMPONENT, Metadata,
};
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{fields, kinds, names};
use dask_operator_plugin::prelude::*;

use crate::Settings;

/// Conditions of the default group that its cluster repeats while the group has them.
const PROPAGATED: [&str; 2] = [ScaleDownBlocked::TYPE, WorkersUpToDate::TYPE];

/// The reason why workers of a group are not ready, taken from the group's condition.
#[derive(Debug)]
struct Shortfall {
    /// True if there is a problem, and false while workers are only being replaced.
    is_problem: bool,
    /// Number of workers that are not ready.
    missing: u64,
    reason: String,
    message: String,
}

/// The observed state of a cluster's worker groups, and the desired default group.
#[derive(Debug)]
pub(crate) struct Groups {
    /// True if the default group exists and is not being deleted.
    pub(crate) exists: bool,
    /// Number of workers of the default group that exist, and that are ready.
    pub(crate) default_workers: (u64, u64),
    /// Number of desired workers of all groups, and of ready ones.
    pub(crate) all_workers: (u64, u64),
    /// The shortfall of the group with the most missing workers. Groups with problems take precedence.
    shortfall: Option<Shortfall>,
    /// Conditions of the default group that the cluster repeats.
    propagated: Vec<Condition>,
    /// The desired default group, and other groups that are children of the cluster: a copy of the default group under
    /// another name has the same labels, but belongs to the user who created it.
    pub(crate) children: Vec<DesiredChild>,
}

impl Groups {
    /// Reads the groups of a cluster (after defaulting) and builds the desired default group.
    pub(crate) fn of(
        observation: &Observation,
        cluster: &Resource<'_>,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let name = names::default_group(cluster.name);
        let observed = observation.child(&kinds::worker_group(), &name);
        let default: Option<Value> = observed.map(ObservedObject::read).transpose()?;
        let child = DesiredChild::apply_unless_terminating(
            observed,
            kinds::worker_group().key(name),
            object(cluster, default.as_ref(), settings),
        );
        let wanted = resource::replicas(&cluster.spec[fields::cluster::WORKER]);
        let is_other = |group: &&ObservedObject| observed.is_none_or(|default| default.key != group.key);
        let copies = observation
            .children_of(&kinds::worker_group())
            .iter()
            .filter(is_other);
        let mut all = default.as_ref().map_or((u64::from(wanted), 0), workers);
        let mut shortfalls = Vec::from_iter(default.as_ref().and_then(shortfall));
        for other in copies
            .clone()
            .chain(observation.related_of(&kinds::worker_group()))
        {
            let other: Value = other.read()?;
            let (desired, ready) = workers(&other);
            all = (all.0 + desired, all.1 + ready);
            shortfalls.extend(shortfall(&other));
        }
        let count = |field: &str| {
            default
                .as_ref()
                .and_then(|group| group["status"][field].as_u64())
                .unwrap_or(0)
        };
        Ok(Self {
            exists: observed.is_some_and(|observed| !observed.terminating),
            default_workers: (count("replicas"), count("readyReplicas")),
            all_workers: all,
            shortfall: shortfalls
                .into_iter()
                .max_by_key(|shortfall| (shortfall.is_problem, shortfall.missing)),
            propagated: default.as_ref().map(propagated).unwrap_or_default(),
            children: [child]
                .into_iter()
                .chain(copies.map(DesiredChild::keep))
                .collect(),
        })
    }

    /// Returns the condition `WorkersReady` for the workers of all groups.
    pub(crate) fn condition(&self, suspended: bool) -> Condition {
        let (desired, ready) = self.all_workers;
        if suspended {
            let message = "the cluster is suspended";
            return WorkersReady::Suspended.condition(ConditionStatus::False, message);
        }
        let counted = format!("{ready} of {desired} workers are ready");
        match &self.shortfall {
            _ if ready >= desired => WorkersReady::AllReady.condition(ConditionStatus::True, counted),
            Some(shortfall) => Condition::new(
                WorkersReady::TYPE,
                ConditionStatus::False,
                &shortfall.reason,
                format!("{counted}; {}", shortfall.message),
            ),
            None => WorkersReady::WorkersStarting.condition(ConditionStatus::False, counted),
        }
    }

    /// Returns the conditions of the default group that the cluster repeats. Empty if the cluster is suspended.
    pub(crate) fn propagated(&self, suspended: bool) -> Vec<Condition> {
        match suspended {
            true => Vec::new(),
            false => self.propagated.clone(),
        }
    }

    /// Returns the message of the problem that keeps workers from becoming ready, if there is one.
    pub(crate) fn problem_message(&self) -> Option<&str> {
        self.problem().map(|shortfall| shortfall.message.as_str())
    }

    fn problem(&self) -> Option<&Shortfall> {
        self.shortfall.as_ref().filter(|shortfall| shortfall.is_problem)
    }

    /// Returns an event if the workers are not ready because of a problem whose reason is not in the status yet.
    pub(crate) fn event(&self, cluster: &Resource<'_>, condition: &Condition) -> Option<Event> {
        let conditions = cluster.status["conditions"].as_array();
        let before = conditions
            .into_iter()
            .flatten()
            .find(|before| before["type"] == WorkersReady::TYPE);
        let is_reported = before.is_some_and(|before| before["reason"] == condition.reason);
        let is_problem = self
            .problem()
            .is_some_and(|shortfall| shortfall.reason == condition.reason);
        (is_problem && !is_reported).then(|| Event::warning("WorkersNotReady", condition.message.clone()))
    }
}

/// Returns the shortfall that a group reports. `None` if there is none, or if workers only start.
fn shortfall(group: &Value) -> Option<Shortfall> {
    let condition = Resource::of(group).condition(WorkersReady::TYPE)?;
    let reason = condition["reason"].as_str()?;
    if condition["status"] != "False" || reason == WorkersReady::WorkersStarting.as_str() {
        return None;
    }
    let (desired, ready) = workers(group);
    let message = condition["message"].as_str().unwrap_or_default();
    // The message begins with the counts.
    let detail = message.split_once("; ").map_or(message, |(_, detail)| detail);
    let name = group["metadata"]["name"].as_str().unwrap_or_default();
    Some(Shortfall {
        is_problem: reason != WorkersReady::WorkersRetiring.as_str(),
        missing: desired - ready,
        reason: reason.to_owned(),
        message: format!("worker group {name}: {detail}"),
    })
}

/// Returns the conditions of a group that its cluster repeats, with the group's reasons and messages.
fn propagated(group: &Value) -> Vec<Condition> {
    let group = Resource::of(group);
    let conditions = PROPAGATED.iter().filter_map(|type_| {
        let condition = group.condition(type_)?;
        let text = |field: &str| condition[field].as_str();
        let holds = text("status")? == "True";
        Some(Condition::new(
            *type_,
            holds.into(),
            text("reason")?,
            text("message").unwrap_or_default(),
        ))
    });
    conditions.collect()
}

/// Returns the numbers of desired and of ready workers of a group. Ready workers above the desired number do not count.
fn workers(group: &Value) -> (u64, u64) {
    let desired = u64::from(resource::replicas(&group["spec"][fields::worker_group::WORKER]));
    (
        desired,
        group["status"]["readyReplicas"]
            .as_u64()
            .unwrap_or(0)
            .min(desired),
    )
}

fn object(cluster: &Resource<'_>, existing: Option<&Value>, settings: &Settings) -> Value {
    let wanted = resource::replicas(&cluster.spec[fields::cluster::WORKER]);
    let mut worker = cluster.spec[fields::cluster::WORKER].clone();
    worker[fields::worker::REPLICAS] = json!(resource::passed_on_replicas(wanted, existing));
    let mut metadata = Metadata::of(cluster.object, &settings.ignored())
        .below(Metadata::embedded(
            cluster.spec[fields::cluster::WORKER].get(fields::template::METADATA),
        ))
        .reserved(&[
            (LABEL_CLUSTER, cluster.name),
            (LABEL_COMPONENT, COMPONENT_WORKER_GROUP),
        ]);
    metadata
        .annotations
        .insert(ANNOTATION_CLUSTER_REPLICAS.to_owned(), wanted.to_string());
    let mut spec = json!({fields::worker_group::CLUSTER: cluster.name});
    spec[fields::worker_group::WORKER] = worker;
    resource::object(&metadata, spec)
}

/// Returns the label selector of the default group's workers.
pub(crate) fn selector(cluster: &str) -> String {
    metadata::selector(&metadata::worker_labels(cluster, &names::default_group(cluster)))
}
