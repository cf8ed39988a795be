//! From an observation to a plan.

use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{kinds, names, scheduler, time};
use dask_operator_plugin::prelude::*;

use crate::decision::{self, Memory, Sight};
use crate::status::Status;
use crate::{cooldown, policy, report, validate, workers};

/// How long to wait for a cluster or a worker group that does not exist, in milliseconds. They are watched; this is
/// only in case.
const LOOK_AGAIN: u64 = 30_000;

/// The longest wait for something that only time can bring, in milliseconds.
const LONGEST: i64 = 3_600_000;

/// Another one scales the worker group.
const ANOTHER_AUTOSCALER: &str = "AnotherAutoscaler";

/// Plans a `DaskAutoscaler`.
pub(crate) fn autoscaler(observation: &Observation) -> Result<Plan, Error> {
    let parent = observation.parent_json()?;
    let findings = validate::autoscaler(&parent);
    let questionable = Condition::questionable(&findings);
    Error::if_invalid(findings)?;
    let mut plan = of_cluster(observation, &Resource::of(&parent))?;
    plan.conditions.extend(questionable);
    Ok(plan)
}

/// Plans an autoscaler whose spec is right.
fn of_cluster(observation: &Observation, parent: &Resource<'_>) -> Result<Plan, Error> {
    let cluster_name = parent.spec["cluster"].as_str().unwrap_or_default();
    let Some(cluster) = observation.related_object(&kinds::cluster(), cluster_name) else {
        let message = format!(
            "there is no DaskCluster {cluster_name} in namespace {}: an autoscaler and its cluster must share a \
             namespace",
            parent.namespace
        );
        return Ok(missing(parent, None, "ClusterNotFound", message));
    };
    let owner = Owner {
        api_version: cluster.key.api_version.clone(),
        kind: cluster.key.kind.clone(),
        name: cluster.key.name.clone(),
        uid: cluster.uid.clone(),
    };
    let groups = observation.related_of(&kinds::worker_group());
    let default_group = names::default_group(cluster_name);
    let group_name = parent.spec["workerGroup"].as_str().unwrap_or(&default_group);
    let group = groups
        .iter()
        .find(|group| group.key.name == group_name && !group.terminating);
    let Some(group) = group else {
        let message =
            format!("there is no DaskWorkerGroup {group_name} of the DaskCluster {cluster_name} to scale");
        return Ok(missing(parent, Some(owner), "WorkerGroupNotFound", message));
    };
    if let Some(other) = rival(observation, parent, group_name, &default_group)? {
        let message = format!(
            "DaskAutoscaler {other} scales {group_name} already, and is older: delete one of the two, or name another worker \
             group in spec.workerGroup"
        );
        return Ok(missing(parent, Some(owner), ANOTHER_AUTOSCALER, message));
    }
    let worker = &group.read::<Value>()?["spec"]["worker"];
    let current = resource::replicas(worker);
    let cluster_spec = &cluster.read::<Value>()?["spec"];
    if cluster_spec["suspend"] == true {
        let message = format!("the DaskCluster {cluster_name} is suspended: nothing is scaled");
        let mut plan = inactive(parent, Some(owner), "ClusterSuspended", message);
        // What was wanted before says nothing of when it goes on.
        let memory = Memory {
            replicas: Some(current),
            ..Memory::default()
        };
        plan.status = Status::remembering(&memory, group_name, current).write(parent);
        return Ok(plan);
    }
    let other_groups: Vec<&str> = groups
        .iter()
        .map(|group| group.key.name.as_str())
        .filter(|name| *name != group_name)
        .collect();
    let scaled = Scaled {
        name: group_name,
        replicas: current,
        pod_spec: &worker["spec"],
    };
    let mut plan = scaling(observation, parent, scaled, &other_groups);
    plan.owner = Some(owner);
    plan.scheduler = Some(request(parent, cluster_spec));
    Ok(plan)
}

/// The autoscaler that scales the same worker group and is older, or the first by name among those of one age. Two that both
/// scale a group would do so against each other.
fn rival(
    observation: &Observation,
    parent: &Resource<'_>,
    group: &str,
    default_group: &str,
) -> Result<Option<String>, Error> {
    let age = |object: &Value, name: &str| {
        let created = object["metadata"]["creationTimestamp"].as_str();
        (created.and_then(time::parse), name.to_owned())
    };
    let own = age(parent.object, parent.name);
    for other in observation.related_of(&kinds::autoscaler()) {
        let object: Value = other.read()?;
        let scales = object["spec"]["workerGroup"].as_str().unwrap_or(default_group);
        if !other.terminating && scales == group && age(&object, &other.key.name) < own {
            return Ok(Some(other.key.name.clone()));
        }
    }
    Ok(None)
}

/// What is asked of the scheduler for as long as the autoscaler exists.
fn request(parent: &Resource<'_>, cluster_spec: &Value) -> SchedulerRequest {
    let questions = [SchedulerQuestion::Demand, SchedulerQuestion::Workers];
    let target = time::seconds(&parent.spec["targetDurationSeconds"]);
    SchedulerRequest {
        target_duration: target.map(i64::unsigned_abs),
        ..scheduler::request(cluster_spec, &questions, scheduler::NOW_AND_THEN)
    }
}

/// The worker group that is scaled.
#[derive(Clone, Copy)]
struct Scaled<'a> {
    name: &'a str,
    replicas: u32,
    pod_spec: &'a Value,
}

fn scaling(
    observation: &Observation,
    parent: &Resource<'_>,
    scaled: Scaled<'_>,
    other_groups: &[&str],
) -> Plan {
    let (group, current) = (scaled.name, scaled.replicas);
    let policy = policy::policy(parent.spec);
    let before = Status::of(parent);
    let facts = observation.recent_scheduler_facts();
    let demand = facts.and_then(|facts| workers::demand(facts, other_groups, scaled.pod_spec));
    let sight = Sight {
        now: observation.now.div_euclid(1000),
        current,
        demand,
        cooldown_until: cooldown::read(&parent.object["metadata"]["annotations"][cooldown::ANNOTATION]),
    };
    let decision = decision::decide(&policy, &sight, &before.memory(group));
    let replicas = decision.replicas;
    let active = match &demand {
        Some(demand) => report::follows(demand, group, current, replicas),
        None => report::does_not_follow(&observation.scheduler, facts.is_some()),
    };
    let mut plan = Plan {
        status: Status::remembering(&decision.memory, group, current).write(parent),
        conditions: vec![
            active,
            report::able(&decision),
            report::limited(&decision, &policy),
        ],
        requeue_after: [
            decision.again.map(|again| again.saturating_mul(1000)),
            outdated(observation),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|at| (at - observation.now).clamp(1, LONGEST).unsigned_abs()),
        ..Plan::default()
    };
    if replicas != current {
        // Until the group is seen to have changed, it is the same change.
        if before.worker_group.as_deref() != Some(group) || before.desired_replicas != Some(replicas) {
            plan.events
                .push(report::scaled(group, current, &decision, demand.as_ref()));
        }
        plan.scale.push(Scale {
            worker_group: group.to_owned(),
            replicas,
        });
    }
    plan
}

/// Returns when to look at the scheduler's answer again: when it becomes too old, and now and then while it is. An answer
/// that says the same as the one before does not lead to another plan by itself.
fn outdated(observation: &Observation) -> Option<Timestamp> {
    let answered = observation.scheduler_facts()?.observed_at;
    Some(match observation.recent_scheduler_facts() {
        Some(_) => answered.saturating_add(scheduler::TOO_OLD + 1),
        None => observation
            .now
            .saturating_add(scheduler::NOW_AND_THEN.cast_signed()),
    })
}

/// Something that the autoscaler names does not exist.
fn missing(parent: &Resource<'_>, owner: Option<Owner>, reason: &str, message: String) -> Plan {
    let mut plan = inactive(parent, owner, reason, message.clone());
    plan.requeue_after = Some(LOOK_AGAIN);
    if reason_before(parent) != Some(reason) {
        plan.events.push(Event::warning(reason, message));
    }
    plan
}

/// Nothing is scaled.
fn inactive(parent: &Resource<'_>, owner: Option<Owner>, reason: &str, message: String) -> Plan {
    Plan {
        status: Status::default().write(parent),
        conditions: vec![report::inactive(reason, message)],
        owner,
        ..Plan::default()
    }
}

/// Why it was active or not after the last plan.
fn reason_before<'a>(parent: &Resource<'a>) -> Option<&'a str> {
    let conditions = parent.status["conditions"].as_array()?;
    let active = conditions
        .iter()
        .find(|condition| condition["type"] == report::SCALING_ACTIVE)?;
    active["reason"].as_str()
}

#[cfg(test)]
mod tests;
