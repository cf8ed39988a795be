//! The worker group that a cluster makes, and what its groups say.

use dask_operator_plugin::dask::metadata::{self, CLUSTER_NAME, CLUSTER_REPLICAS, COMPONENT, Metadata};
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{kinds, names};
use dask_operator_plugin::prelude::*;

use crate::Settings;

/// What is known of the worker groups.
#[derive(Debug)]
pub(crate) struct Groups {
    /// The default group exists and stays.
    pub(crate) exists: bool,
    /// Workers of the default group that exist, and that are ready.
    pub(crate) default_workers: (u64, u64),
    /// Workers of all groups that there shall be, and that are ready.
    pub(crate) all_workers: (u64, u64),
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
        for other in copies
            .clone()
            .chain(observation.related_of(&kinds::worker_group()))
        {
            let (desired, ready) = workers(&other.read()?);
            all = (all.0 + desired, all.1 + ready);
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
            return Condition::new("WorkersReady", ConditionStatus::False, "Suspended", message);
        }
        let message = format!("{ready} of {desired} workers are ready");
        let reason = if ready >= desired {
            "AllReady"
        } else {
            "WorkersStarting"
        };
        Condition::new("WorkersReady", (ready >= desired).into(), reason, message)
    }
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
    worker["replicas"] = json!(replicas(wanted, existing));
    let mut metadata = Metadata::of(cluster.object, &settings.ignored_annotations)
        .below(Metadata::embedded(cluster.spec["worker"].get("metadata")))
        .reserved(&[(CLUSTER_NAME, cluster.name), (COMPONENT, "workergroup")]);
    metadata
        .annotations
        .insert(CLUSTER_REPLICAS.to_owned(), wanted.to_string());
    let mut spec = json!({"cluster": cluster.name});
    spec["worker"] = worker;
    resource::object(&metadata, spec)
}

/// How many workers the default group shall have. The cluster's number is passed on when it changes; in between the
/// group belongs to whoever scales it. A group of the operator before this one keeps its number at first sight.
fn replicas(wanted: u32, existing: Option<&Value>) -> u32 {
    let Some(group) = existing else { return wanted };
    let passed_on = group["metadata"]["annotations"][CLUSTER_REPLICAS].as_str();
    match passed_on {
        Some(passed_on) if passed_on != wanted.to_string() => wanted,
        _ => resource::replicas(&group["spec"]["worker"]),
    }
}

/// The selector of the default group's workers, as text.
pub(crate) fn selector(cluster: &str) -> String {
    metadata::selector(&metadata::worker_labels(cluster, &names::default_group(cluster)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_go_one_way_and_only_when_they_change() {
        let group = |passed_on: Option<&str>, replicas: u32| json!({"metadata": {"annotations": {CLUSTER_REPLICAS: passed_on}}, "spec": {"worker": {"replicas": replicas}}});
        assert_eq!(replicas(3, None), 3, "a new group");
        assert_eq!(
            replicas(3, Some(&group(Some("3"), 7))),
            7,
            "somebody scaled the group"
        );
        assert_eq!(
            replicas(4, Some(&group(Some("3"), 7))),
            4,
            "somebody changed the cluster"
        );
        assert_eq!(
            replicas(3, Some(&group(None, 7))),
            7,
            "a group of the operator before"
        );
    }
}
