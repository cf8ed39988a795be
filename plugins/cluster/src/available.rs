//! The condition `Available`: clients can use the cluster if its scheduler is ready, its Service has an address, and a test
//! connection succeeded.

use dask_operator_plugin::dask::conditions::Available;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::scheduler;
use dask_operator_plugin::prelude::*;

use crate::registration::{Registration, tls_hint};
use crate::requeue::requeue_within;
use crate::scheduler::Scheduler;
use crate::service::Service;

/// The parts of the cluster that a client's connection depends on.
pub(crate) struct Connection<'a> {
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) service: &'a Service,
    pub(crate) registration: &'a Registration,
}

impl Connection<'_> {
    /// Adds the condition to a plan, and the scheduler query that decides it. The query connects to the comm port of the
    /// Service, as a client does. It is made after each start of a scheduler, and not repeated while the scheduler stays
    /// ready.
    pub(crate) fn add(&self, plan: &mut Plan, cluster: &Resource<'_>, observation: &Observation) {
        let scheduler = self.scheduler;
        let condition = if !scheduler.is_ready() {
            let Condition { reason, message, .. } = &scheduler.condition;
            Condition::new(Available::TYPE, ConditionStatus::False, reason, message)
        } else if let Some(why) = &self.service.unreachable {
            Available::ServiceUnreachable.condition(ConditionStatus::False, why)
        } else if has_replied(cluster, observation, scheduler) {
            self.registration.condition()
        } else {
            let queries = [SchedulerQuestion::Workers];
            let request = scheduler::request(cluster.spec, &queries, scheduler::NOW_AND_THEN);
            let has_tls = request.tls;
            plan.scheduler = Some(request);
            // These facts are from before the start. The plan is repeated only for facts that differ, so request a requeue.
            if let SchedulerState::Facts(_) = observation.scheduler {
                requeue_within(plan, scheduler::NOW_AND_THEN);
            }
            failed_connection(cluster, &observation.scheduler, has_tls)
                .or_else(|| earlier_failure(cluster, scheduler))
                .unwrap_or_else(|| {
                    Available::SchedulerNotAsked.condition(
                        ConditionStatus::False,
                        "the scheduler's pod is ready, and a connection is being tried",
                    )
                })
        };
        plan.conditions.insert(0, condition);
    }
}

/// Returns the condition for a failed connection, or `None` if no connection failed.
fn failed_connection(cluster: &Resource<'_>, scheduler: &SchedulerState, has_tls: bool) -> Option<Condition> {
    let (status, message) = match scheduler {
        // Without a client certificate that the scheduler accepts, the operator's failure says nothing about clients.
        SchedulerState::Unreachable(why) if has_tls => (
            ConditionStatus::Unknown,
            format!("the operator can't connect to the scheduler by TLS: {why}"),
        ),
        SchedulerState::Unreachable(why) => (
            ConditionStatus::False,
            format!(
                "the scheduler's pod is ready, and nothing answers at the comm port of its Service: {why}; look whether the \
                 scheduler listens on the targetPort of spec.scheduler.service.ports[name=tcp-comm], and whether a \
                 NetworkPolicy keeps the operator away{}",
                tls_hint(cluster)
            ),
        ),
        SchedulerState::NotAsked | SchedulerState::Facts(_) => return None,
    };
    Some(Available::SchedulerUnreachable.condition(status, message))
}

/// Returns the condition for an earlier failure in the status. It stays valid until the next attempt, for instance after a
/// restart of the operator. `None` if there is no such failure since the last start of the scheduler.
fn earlier_failure(cluster: &Resource<'_>, scheduler: &Scheduler) -> Option<Condition> {
    let unreachable = Available::SchedulerUnreachable;
    let previous = cluster
        .condition(Available::TYPE)
        .filter(|previous| previous["reason"] == unreachable.as_str() && is_same_start(cluster, scheduler))?;
    let status = match previous["status"].as_str()? {
        "Unknown" => ConditionStatus::Unknown,
        _ => ConditionStatus::False,
    };
    Some(unreachable.condition(status, previous["message"].as_str()?))
}

/// Returns whether the scheduler has replied since it was started, according to the status or to the current facts.
fn has_replied(cluster: &Resource<'_>, observation: &Observation, scheduler: &Scheduler) -> bool {
    let started = scheduler.present.as_ref().and_then(|present| present.started);
    let replies = observation
        .recent_scheduler_facts()
        .is_some_and(|facts| started.is_none_or(|started| started <= facts.observed_at));
    replies || (cluster.condition_holds(Available::TYPE) && is_same_start(cluster, scheduler))
}

/// Returns whether the status describes the present scheduler since its last start.
fn is_same_start(cluster: &Resource<'_>, scheduler: &Scheduler) -> bool {
    let status = cluster.status;
    scheduler.present.as_ref().is_some_and(|present| {
        // A node may restart its count, and the status has the greatest number.
        status["schedulerUid"] == present.uid.as_str()
            && status["schedulerContainerRestarts"].as_u64().unwrap_or(0) >= present.restarts
    })
}
