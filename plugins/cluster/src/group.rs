//! The worker group that a cluster makes, and what its groups say.

use dask_operator_plugin::dask::metadata::{self, CLUSTER_NAME, CLUSTER_REPLICAS, COMPONENT, Metadata};
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{kinds, names};
use dask_operator_plugin::prelude::*;

use crate::Settings;

/// Whether as many workers are ready as there shall be; of a cluster and of a group.
pub(crate) const WORKERS_READY: &str = "WorkersReady";
/// Conditions of the default group that its cluster has too, while the group has them.
const PASSED_ON: [&str; 2] = ["ScaleDownBlocked", "WorkersUpToDate"];

/// Workers come, as far as is known.
const STARTING: &str = "WorkersStarting";
/// Workers are drained before they are replaced.
const RETIRING: &str = "WorkersRetiring";

/// Why workers of a group are not ready, in its own words.
#[derive(Debug)]
struct Why {
    /// It is more than work that goes on.
    is_trouble: bool,
    /// How many of its workers are not ready.
    missing: u64,
    reason: String,
    message: String,
}

/// What is known of the worker groups.
#[derive(Debug)]
pub(crate) struct Groups {
    /// The default group exists and stays.
    pub(crate) exists: bool,
    /// Workers of the default group that exist, and that are ready.
    pub(crate) default_workers: (u64, u64),
    /// Workers of all groups that there shall be, and that are ready.
    pub(crate) all_workers: (u64, u64),
    /// Of the group that most workers are missing of, why: of those in trouble, if some are.
    why: Option<Why>,
    /// What the default group says of workers that leave and are replaced.
    passed_on: Vec<Condition>,
    /// What shall become of the default group, and of others that are its children too: a copy of the default group
    /// under another name has its labels, and belongs to whoever made it.
    pub(crate) children: Vec<DesiredChild>,
}

impl Groups {
    /// Looks at the groups of a cluster (after defaulting) and says what the default one shall be.
    pub(crate) fn of(
        observation: &Observation,
        cluster: &Resource<'_>,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let name = names::default_group(cluster.name);
        let observed = observation.child(&kinds::worker_group(), &name);
        let default: Option<Value> = observed.map(ObservedObject::read).transpose()?;
        let child = match observed {
            Some(observed) if observed.terminating => DesiredChild::keep(observed),
            _ => DesiredChild::apply(
                kinds::worker_group().key(name),
                object(cluster, default.as_ref(), settings),
            ),
        };
        let wanted = resource::replicas(&cluster.spec["worker"]);
        let is_other = |group: &&ObservedObject| observed.is_none_or(|default| default.key != group.key);
        let copies = observation
            .children_of(&kinds::worker_group())
            .iter()
            .filter(is_other);
        let mut all = default.as_ref().map_or((u64::from(wanted), 0), workers);
        let mut reasons = Vec::from_iter(default.as_ref().and_then(why));
        for other in copies
            .clone()
            .chain(observation.related_of(&kinds::worker_group()))
        {
            let other: Value = other.read()?;
            let (desired, ready) = workers(&other);
            all = (all.0 + desired, all.1 + ready);
            reasons.extend(why(&other));
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
            why: reasons
                .into_iter()
                .max_by_key(|why| (why.is_trouble, why.missing)),
            passed_on: default.as_ref().map(passed_on).unwrap_or_default(),
            children: [child]
                .into_iter()
                .chain(copies.map(DesiredChild::keep))
                .collect(),
        })
    }

    /// Whether as many workers are ready as all groups shall have.
    pub(crate) fn condition(&self, suspended: bool) -> Condition {
        let (desired, ready) = self.all_workers;
        if suspended {
            let message = "the cluster is suspended";
            return Condition::new(WORKERS_READY, ConditionStatus::False, "Suspended", message);
        }
        let counted = format!("{ready} of {desired} workers are ready");
        match &self.why {
            _ if ready >= desired => {
                Condition::new(WORKERS_READY, ConditionStatus::True, "AllReady", counted)
            }
            Some(why) => Condition::new(
                WORKERS_READY,
                ConditionStatus::False,
                &why.reason,
                format!("{counted}; {}", why.message),
            ),
            None => Condition::new(WORKERS_READY, ConditionStatus::False, STARTING, counted),
        }
    }

    /// What the default group says of workers that leave and are replaced.
    pub(crate) fn passed_on(&self, suspended: bool) -> Vec<Condition> {
        match suspended {
            true => Vec::new(),
            false => self.passed_on.clone(),
        }
    }

    /// Why workers do not come, in the words of the group that most are missing of.
    pub(crate) fn why(&self) -> Option<&str> {
        self.trouble().map(|why| why.message.as_str())
    }

    fn trouble(&self) -> Option<&Why> {
        self.why.as_ref().filter(|why| why.is_trouble)
    }

    /// An event where workers do not come for another reason than before.
    pub(crate) fn event(&self, cluster: &Resource<'_>, condition: &Condition) -> Option<Event> {
        let conditions = cluster.status["conditions"].as_array();
        let before = conditions
            .into_iter()
            .flatten()
            .find(|before| before["type"] == WORKERS_READY);
        let is_said = before.is_some_and(|before| before["reason"] == condition.reason);
        let is_trouble = self.trouble().is_some_and(|why| why.reason == condition.reason);
        (is_trouble && !is_said).then(|| Event::warning("WorkersNotReady", condition.message.clone()))
    }
}

/// What a group says of workers that are not ready.
fn why(group: &Value) -> Option<Why> {
    let condition = Resource::of(group).condition(WORKERS_READY)?;
    let reason = condition["reason"].as_str()?;
    if condition["status"] != "False" || reason == STARTING {
        return None;
    }
    let (desired, ready) = workers(group);
    let message = condition["message"].as_str().unwrap_or_default();
    // What comes first are its numbers.
    let why = message.split_once("; ").map_or(message, |(_, why)| why);
    let name = group["metadata"]["name"].as_str().unwrap_or_default();
    Some(Why {
        is_trouble: reason != RETIRING,
        missing: desired - ready,
        reason: reason.to_owned(),
        message: format!("worker group {name}: {why}"),
    })
}

/// The conditions of a group that its cluster has too, in the group's own words.
fn passed_on(group: &Value) -> Vec<Condition> {
    let group = Resource::of(group);
    let conditions = PASSED_ON.iter().filter_map(|type_| {
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

/// How many workers a group shall have, and how many are ready; those that are too many don't count.
fn workers(group: &Value) -> (u64, u64) {
    let desired = u64::from(resource::replicas(&group["spec"]["worker"]));
    (
        desired,
        group["status"]["readyReplicas"]
            .as_u64()
            .unwrap_or(0)
            .min(desired),
    )
}

fn object(cluster: &Resource<'_>, existing: Option<&Value>, settings: &Settings) -> Value {
    let wanted = resource::replicas(&cluster.spec["worker"]);
    let mut worker = cluster.spec["worker"].clone();
    worker["replicas"] = json!(resource::passed_on_replicas(wanted, existing));
    let mut metadata = Metadata::of(cluster.object, &settings.ignored())
        .below(Metadata::embedded(cluster.spec["worker"].get("metadata")))
        .reserved(&[(CLUSTER_NAME, cluster.name), (COMPONENT, "workergroup")]);
    metadata
        .annotations
        .insert(CLUSTER_REPLICAS.to_owned(), wanted.to_string());
    let mut spec = json!({"cluster": cluster.name});
    spec["worker"] = worker;
    resource::object(&metadata, spec)
}

/// The selector of the default group's workers, as text.
pub(crate) fn selector(cluster: &str) -> String {
    metadata::selector(&metadata::worker_labels(cluster, &names::default_group(cluster)))
}
