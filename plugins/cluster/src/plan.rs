//! The plan of a cluster: its children, status, conditions and events.

use dask_operator_plugin::dask::conditions::{SpecQuestionable, Suspended};
use dask_operator_plugin::dask::fields;
use dask_operator_plugin::dask::metadata::Metadata;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::prelude::*;

use crate::group::{self, Groups};
use crate::phase::ClusterPhase;
use crate::registration::Registration;
use crate::restarts::SchedulerHistory;
use crate::scheduler::{Scheduler, is_suspended};
use crate::service::Service;
use crate::{DefaultCluster, Settings, available, idle, validate};

/// Plans a `DaskCluster`.
///
/// # Errors
///
/// Returns an error if the spec is invalid or an observed object can't be read.
pub(crate) fn cluster(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
    let cluster = <DefaultCluster as Logic<Cluster>>::default(observation.parent_json()?, settings)?;
    let findings = validate::cluster(&cluster);
    let questionable = SpecQuestionable::of(&findings);
    Error::if_invalid(findings)?;
    let cluster = Resource::of(&cluster);
    let inherited = Metadata::of(cluster.object, &settings.ignored()).below(Metadata::embedded(
        cluster.spec[fields::cluster::SCHEDULER].get(fields::template::METADATA),
    ));
    let scheduler = Scheduler::of(observation, &cluster, &inherited, settings)?;
    let service = Service::of(observation, &cluster, &inherited)?;
    let groups = Groups::of(observation, &cluster, settings)?;
    let suspended = is_suspended(&cluster);
    let mut history = SchedulerHistory::of(&cluster, scheduler.present.as_ref(), suspended);
    history.backoff = scheduler.backoff.clone().filter(|_| !suspended);
    let registration = match suspended {
        true => Registration::default(),
        false => Registration::of(&cluster, observation, &scheduler, &groups, questionable.is_some()),
    };
    let phase = phase(&cluster, &scheduler, &service, &groups, suspended);

    let workers = groups.condition(suspended);
    let events = [
        suspension_event(&cluster, suspended),
        groups.event(&cluster, &workers),
    ];
    let mut plan = Plan {
        status: status(&cluster, phase, &groups, &history, &registration),
        conditions: vec![scheduler.condition.clone(), workers],
        events: events.into_iter().flatten().collect(),
        ..Plan::default()
    };
    plan.conditions.extend(groups.propagated(suspended));
    plan.conditions.extend(history.condition());
    plan.conditions.extend(scheduler.update.condition());
    plan.conditions.extend(suspended.then(suspended_condition));
    plan.conditions.extend(questionable);
    plan.events.extend(scheduler.event.clone().filter(|_| !suspended));
    plan.events.extend(history.event.clone());
    plan.events.extend(scheduler.update.event(&cluster));
    let rest = scheduler.requeue_at.map(|until| until - observation.now);
    plan.requeue_after = rest.and_then(|rest| u64::try_from(rest).ok());
    let connection = available::Connection {
        scheduler: &scheduler,
        service: &service,
        registration: &registration,
    };
    connection.add(&mut plan, &cluster, observation);
    let runs = scheduler.is_ready();
    plan.children.extend(scheduler.child);
    plan.children.push(service.child);
    plan.children.extend(groups.children);
    idle::add(&mut plan, &cluster, observation, runs);
    registration.add(&mut plan, &cluster);
    Ok(plan)
}

/// Returns the phase: `Created` until all parts exist, then `Running`, or `Pending` while the Service can't be reached or the
/// cluster is suspended. The later loss of a part shows in conditions only, because clients that wait for `Running` have
/// already stopped waiting.
fn phase(
    cluster: &Resource<'_>,
    scheduler: &Scheduler,
    service: &Service,
    groups: &Groups,
    suspended: bool,
) -> ClusterPhase {
    let everything_exists = scheduler.exists && service.exists && groups.exists;
    match ClusterPhase::of(cluster.status) {
        Some(_) if suspended => ClusterPhase::Pending,
        Some(before @ (ClusterPhase::Running | ClusterPhase::Pending)) if !everything_exists => before,
        _ if !everything_exists => ClusterPhase::Created,
        _ if service.unreachable.is_some() => ClusterPhase::Pending,
        _ => ClusterPhase::Running,
    }
}

/// Returns the condition of a suspended cluster. Other clusters do not have it.
fn suspended_condition() -> Condition {
    Suspended::ClusterSuspended.condition(
        ConditionStatus::True,
        "no scheduler and no workers until spec.suspend is false",
    )
}

/// Returns the event for the suspension or the resumption of a cluster.
fn suspension_event(cluster: &Resource<'_>, suspended: bool) -> Option<Event> {
    match (cluster.condition_holds(Suspended::TYPE), suspended) {
        (false, true) => Some(Event::normal(
            Suspended::ClusterSuspended.as_str(),
            "the cluster is suspended: its scheduler and its workers are stopped, what they held is lost",
        )),
        (true, false) => Some(Event::normal(
            "ClusterResumed",
            "the cluster is no longer suspended",
        )),
        _ => None,
    }
}

fn status(
    cluster: &Resource<'_>,
    phase: ClusterPhase,
    groups: &Groups,
    history: &SchedulerHistory,
    registration: &Registration,
) -> String {
    let (replicas, ready) = groups.default_workers;
    let mut status = json!({
        "phase": phase.as_str(),
        "replicas": replicas,
        "readyReplicas": ready,
        "selector": group::selector(cluster.name),
    });
    history.write(&mut status);
    registration.write(&mut status);
    if let Some(generation) = cluster.generation() {
        status["observedGeneration"] = json!(generation);
    }
    json_text(&status)
}

#[cfg(test)]
mod tests;
