//! The worker group that a cluster makes, and what its groups say.

use dask_operator_plugin::dask::metadata::{self, CLUSTER_NAME, CLUSTER_REPLICAS, COMPONENT, Metadata};
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{kinds, names};
use dask_operator_plugin::prelude::*;

use crate::Settings;

/// Whether as many workers are ready as there shall be; of a cluster and of a group.
pub(crate) const WORKERS_READY: &str = "WorkersReady";

/// Why workers of a group do not come, in its own words.
#[derive(Debug)]
struct Trouble {
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
    /// Of the group that most workers are missing of, why.
    trouble: Option<Trouble>,
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
        let mut troubles = Vec::from_iter(default.as_ref().and_then(trouble));
        for other in copies
            .clone()
            .chain(observation.related_of(&kinds::worker_group()))
        {
            let other: Value = other.read()?;
            let (desired, ready) = workers(&other);
            all = (all.0 + desired, all.1 + ready);
            troubles.extend(trouble(&other));
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
            trouble: troubles.into_iter().max_by_key(|trouble| trouble.missing),
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
        match &self.trouble {
            _ if ready >= desired => {
                Condition::new(WORKERS_READY, ConditionStatus::True, "AllReady", counted)
            }
            Some(trouble) => Condition::new(
                WORKERS_READY,
                ConditionStatus::False,
                &trouble.reason,
                format!("{counted}; {}", trouble.message),
            ),
            None => Condition::new(WORKERS_READY, ConditionStatus::False, STARTING, counted),
        }
    }

    /// Why workers do not come, in the words of the group that most are missing of.
    pub(crate) fn why(&self) -> Option<&str> {
        self.trouble.as_ref().map(|trouble| trouble.message.as_str())
    }

    /// An event where workers do not come for another reason than before.
    pub(crate) fn event(&self, cluster: &Resource<'_>, condition: &Condition) -> Option<Event> {
        let conditions = cluster.status["conditions"].as_array();
        let before = conditions
            .into_iter()
            .flatten()
            .find(|before| before["type"] == WORKERS_READY);
        let is_said = before.is_some_and(|before| before["reason"] == condition.reason);
        let is_trouble = self
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.reason == condition.reason);
        (is_trouble && !is_said).then(|| Event::warning("WorkersNotReady", condition.message.clone()))
    }
}

/// Workers come, as far as is known.
const STARTING: &str = "WorkersStarting";

/// What a group says of workers that do not come.
fn trouble(group: &Value) -> Option<Trouble> {
    let conditions = group["status"]["conditions"].as_array()?;
    let condition = conditions
        .iter()
        .find(|condition| condition["type"] == WORKERS_READY)?;
    let reason = condition["reason"].as_str()?;
    if condition["status"] != "False" || reason == STARTING {
        return None;
    }
    let (desired, ready) = workers(group);
    let message = condition["message"].as_str().unwrap_or_default();
    // What comes first are its numbers.
    let why = message.split_once("; ").map_or(message, |(_, why)| why);
    let name = group["metadata"]["name"].as_str().unwrap_or_default();
    Some(Trouble {
        missing: desired - ready,
        reason: reason.to_owned(),
        message: format!("worker group {name}: {why}"),
    })
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
