//! The plan of an autoscaler: its status, conditions, events and scale requests.

use dask_operator_plugin::dask::conditions::{ScalingActive, SpecQuestionable};
use dask_operator_plugin::dask::metadata::ANNOTATION_COOLDOWN_UNTIL;
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{fields, kinds, names, scheduler, time};
use dask_operator_plugin::prelude::*;

use crate::decision::{self, DecisionState, Input};
use crate::status::Status;
use crate::{cooldown, policy, report, validate, workers};

/// Milliseconds until the next reconcile if the cluster or the worker group does not exist. Both are watched, so this is
/// only a fallback.
const MISSING_RETRY: u64 = 30_000;

/// Maximum milliseconds until the next reconcile for changes that only time brings.
const MAX_REQUEUE: i64 = 3_600_000;

/// Plans a `DaskAutoscaler`.
///
/// # Errors
///
/// Returns an error if the spec is invalid or an observed object can't be read.
pub(crate) fn autoscaler(observation: &Observation) -> Result<Plan, Error> {
    let parent = observation.parent_json()?;
    let findings = validate::autoscaler(&parent);
    let questionable = SpecQuestionable::of(&findings);
    Error::if_invalid(findings)?;
    let mut plan = of_cluster(observation, &Resource::of(&parent))?;
    plan.conditions.extend(questionable);
    Ok(plan)
}

/// Plans an autoscaler with a valid spec.
fn of_cluster(observation: &Observation, parent: &Resource<'_>) -> Result<Plan, Error> {
    let cluster_name = parent.spec[fields::autoscaler::CLUSTER]
        .as_str()
        .unwrap_or_default();
    let Some(cluster) = observation.related_object(&kinds::cluster(), cluster_name) else {
        let message = format!(
            "there is no DaskCluster {cluster_name} in namespace {}: an autoscaler and its cluster must share a \
             namespace",
            parent.namespace
        );
        return Ok(missing(parent, None, ScalingActive::ClusterNotFound, message));
    };
    let owner = Owner {
        api_version: cluster.key.api_version.clone(),
        kind: cluster.key.kind.clone(),
        name: cluster.key.name.clone(),
        uid: cluster.uid.clone(),
    };
    let groups = observation.related_of(&kinds::worker_group());
    let default_group = names::default_group(cluster_name);
    let group_name = parent.spec[fields::autoscaler::WORKER_GROUP]
        .as_str()
        .unwrap_or(&default_group);
    let group = groups
        .iter()
        .find(|group| group.key.name == group_name && !group.terminating);
    let Some(group) = group else {
        let message =
            format!("there is no DaskWorkerGroup {group_name} of the DaskCluster {cluster_name} to scale");
        let reason = ScalingActive::WorkerGroupNotFound;
        return Ok(missing(parent, Some(owner), reason, message));
    };
    if let Some(other) = older_autoscaler(observation, parent, group_name, &default_group)? {
        let message = format!(
            "DaskAutoscaler {other} scales {group_name} already, and is older: delete one of the two, or name another worker \
             group in spec.workerGroup"
        );
        let reason = ScalingActive::AnotherAutoscaler;
        return Ok(missing(parent, Some(owner), reason, message));
    }
    let worker = &group.read::<Value>()?["spec"][fields::worker_group::WORKER];
    let current = resource::replicas(worker);
    let cluster_spec = &cluster.read::<Value>()?["spec"];
    if cluster_spec[fields::cluster::SUSPEND] == true {
        let message = format!("the DaskCluster {cluster_name} is suspended: nothing is scaled");
        let mut plan = inactive(parent, Some(owner), ScalingActive::ClusterSuspended, message);
        // The numbers from before the suspension are not relevant after it.
        let state = DecisionState {
            replicas: Some(current),
            ..DecisionState::default()
        };
        plan.status = Status::with_state(&state, group_name, current).write(parent);
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
        pod_spec: &worker[fields::template::SPEC],
    };
    let mut plan = scaling(observation, parent, scaled, &other_groups);
    plan.owner = Some(owner);
    plan.scheduler = Some(request(parent, cluster_spec));
    Ok(plan)
}

/// Returns the name of an older autoscaler that scales the same worker group. Among autoscalers of the same age, the first
/// by name counts as older. If both scaled the group, they would work against each other.
fn older_autoscaler(
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
        let scales = object["spec"][fields::autoscaler::WORKER_GROUP]
            .as_str()
            .unwrap_or(default_group);
        if !other.terminating && scales == group && age(&object, &other.key.name) < own {
            return Ok(Some(other.key.name.clone()));
        }
    }
    Ok(None)
}

/// Returns the scheduler query of the autoscaler.
fn request(parent: &Resource<'_>, cluster_spec: &Value) -> SchedulerRequest {
    let questions = [SchedulerQuestion::Demand, SchedulerQuestion::Workers];
    let target = time::seconds(&parent.spec[fields::autoscaler::TARGET_DURATION]);
    SchedulerRequest {
        target_duration: target.map(i64::unsigned_abs),
        ..scheduler::request(cluster_spec, &questions, scheduler::NOW_AND_THEN)
    }
}

/// The worker group to scale.
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
    let input = Input {
        now: observation.now.div_euclid(1000),
        current,
        demand,
        cooldown_until: cooldown::read(&parent.object["metadata"]["annotations"][ANNOTATION_COOLDOWN_UNTIL]),
    };
    let decision = decision::decide(&policy, &input, &before.state(group));
    let replicas = decision.replicas;
    let active = match &demand {
        Some(demand) => report::following(demand, group, current, replicas),
        None => report::not_following(&observation.scheduler, facts.is_some()),
    };
    let mut plan = Plan {
        status: Status::with_state(&decision.state, group, current).write(parent),
        conditions: vec![
            active,
            report::able(&decision),
            report::limited(&decision, &policy),
        ],
        requeue_after: [
            decision.next_at.map(|next_at| next_at.saturating_mul(1000)),
            facts_requeue(observation),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|at| (at - observation.now).clamp(1, MAX_REQUEUE).unsigned_abs()),
        ..Plan::default()
    };
    if replicas != current {
        // The event is not repeated until the change of the group is observed.
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

/// Returns the time of the next reconcile for the age of the scheduler's facts: when they become too old, and periodically
/// once they are. Facts that are equal to the previous ones do not trigger a plan by themselves.
fn facts_requeue(observation: &Observation) -> Option<Timestamp> {
    let observed_at = observation.scheduler_facts()?.observed_at;
    Some(match observation.recent_scheduler_facts() {
        Some(_) => observed_at.saturating_add(scheduler::TOO_OLD + 1),
        None => observation
            .now
            .saturating_add(scheduler::NOW_AND_THEN.cast_signed()),
    })
}

/// Plans an autoscaler that refers to a missing object, or whose group has another autoscaler.
fn missing(parent: &Resource<'_>, owner: Option<Owner>, reason: ScalingActive, message: String) -> Plan {
    let mut plan = inactive(parent, owner, reason, message.clone());
    plan.requeue_after = Some(MISSING_RETRY);
    if previous_reason(parent) != Some(reason.as_str()) {
        plan.events.push(Event::warning(reason.as_str(), message));
    }
    plan
}

/// Plans an autoscaler that scales nothing.
fn inactive(parent: &Resource<'_>, owner: Option<Owner>, reason: ScalingActive, message: String) -> Plan {
    Plan {
        status: Status::default().write(parent),
        conditions: vec![report::inactive(reason, message)],
        owner,
        ..Plan::default()
    }
}

/// Returns the reason of the condition `ScalingActive` in the status.
fn previous_reason<'a>(parent: &Resource<'a>) -> Option<&'a str> {
    let conditions = parent.status["conditions"].as_array()?;
    let active = conditions
        .iter()
        .find(|condition| condition["type"] == ScalingActive::TYPE)?;
    active["reason"].as_str()
}

#[cfg(test)]
mod tests;
