//! What a cluster consists of and how it is.

use dask_operator_plugin::dask::metadata::Metadata;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::group::{self, Groups};
use crate::scheduler::{Memory, Scheduler};
use crate::service::Service;
use crate::{DefaultCluster, Settings, validate};

/// Plans a `DaskCluster`.
pub(crate) fn cluster(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
    let cluster = <DefaultCluster as Logic<Cluster>>::default(observation.parent_json()?, settings)?;
    Error::if_invalid(validate::cluster(&cluster))?;
    let cluster = Resource::of(&cluster);
    let handed_down = Metadata::of(cluster.object, &settings.ignored_annotations)
        .below(Metadata::embedded(cluster.spec["scheduler"].get("metadata")));
    let scheduler = Scheduler::of(observation, &cluster, &handed_down, settings)?;
    let service = Service::of(observation, &cluster, &handed_down)?;
    let groups = Groups::of(observation, &cluster, settings)?;
    let memory = scheduler.memory(cluster.status);
    let phase = phase(&cluster, &scheduler, &service, &groups);

    let mut plan = Plan {
        status: status(&cluster, phase, &groups, &memory),
        conditions: vec![
            available(&scheduler, &service),
            scheduler.condition.clone(),
            groups.condition(),
        ],
        events: memory.event().into_iter().collect(),
        ..Plan::default()
    };
    plan.conditions.extend(memory.condition());
    plan.children.extend(scheduler.child);
    plan.children.extend([service.child, groups.child]);
    idle(&mut plan, &cluster, observation);
    Ok(plan)
}

/// `Created` until everything exists; then `Running`, or `Pending` while the Service can't be reached. A part that is
/// lost later is said in conditions: whoever waits for `Running` has waited already.
fn phase(cluster: &Resource<'_>, scheduler: &Scheduler, service: &Service, groups: &Groups) -> &'static str {
    let everything_exists = scheduler.exists && service.exists && groups.exists;
    match cluster.status["phase"].as_str() {
        Some("Running") if !everything_exists => "Running",
        Some("Pending") if !everything_exists => "Pending",
        _ if !everything_exists => "Created",
        _ if service.unreachable.is_some() => "Pending",
        _ => "Running",
    }
}

/// Whether clients can use the cluster.
fn available(scheduler: &Scheduler, service: &Service) -> Condition {
    match &service.unreachable {
        _ if !scheduler.is_ready() => Condition::new(
            "Available",
            ConditionStatus::False,
            &scheduler.condition.reason,
            &scheduler.condition.message,
        ),
        Some(why) => Condition::new("Available", ConditionStatus::False, "ServiceUnreachable", why),
        None => Condition::new(
            "Available",
            ConditionStatus::True,
            "SchedulerReachable",
            "clients can connect",
        ),
    }
}

fn status(cluster: &Resource<'_>, phase: &str, groups: &Groups, memory: &Memory) -> String {
    let (replicas, ready) = groups.default_workers;
    let mut status = json!({
        "phase": phase,
        "replicas": replicas,
        "readyReplicas": ready,
        "selector": group::selector(cluster.name),
    });
    if !memory.uid.is_empty() {
        status["schedulerUid"] = json!(memory.uid);
    }
    if memory.restarts > 0 {
        status["schedulerRestarts"] = json!(memory.restarts);
    }
    if let Some(generation) = cluster.generation() {
        status["observedGeneration"] = json!(generation);
    }
    status.to_string()
}

/// Deletes a cluster that has had nothing to do for `spec.idleTimeout` seconds; otherwise asks again when it would have.
fn idle(plan: &mut Plan, cluster: &Resource<'_>, observation: &Observation) {
    let timeout = cluster.spec["idleTimeout"]
        .as_i64()
        .filter(|seconds| *seconds > 0);
    let SchedulerState::Facts(SchedulerFacts {
        idle_since: Some(since),
        ..
    }) = observation.scheduler
    else {
        return;
    };
    let Some(timeout) = timeout.map(|seconds| seconds.saturating_mul(1000)) else {
        return;
    };
    let idle = observation.now.saturating_sub(since);
    match u64::try_from(timeout - idle) {
        Ok(rest) if rest > 0 => plan.requeue_after = Some(rest),
        _ => {
            let message = format!(
                "the scheduler has had nothing to do since {} ({}), longer than the idle timeout of {}",
                time::format(since),
                time::span(idle),
                time::span(timeout)
            );
            plan.events.push(Event::normal(
                "IdleTimeout",
                format!("{message}: the cluster is deleted"),
            ));
            plan.delete_parent = Some(message);
        }
    }
}

#[cfg(test)]
mod tests;
