//! Whether clients can use the cluster: its scheduler is ready, its Service has an address, and a connection was tried.

use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::scheduler;
use dask_operator_plugin::prelude::*;

use crate::plan::look_again;
use crate::registration::{Registration, tls_hint};
use crate::scheduler::Scheduler;
use crate::service::Service;

const AVAILABLE: &str = "Available";
const UNREACHABLE: &str = "SchedulerUnreachable";
const NOT_ASKED: &str = "SchedulerNotAsked";

/// What a client's connection goes through.
pub(crate) struct Connection<'a> {
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) service: &'a Service,
    pub(crate) registration: &'a Registration,
}

impl Connection<'_> {
    /// Puts into a plan whether clients can connect, and what is asked of the scheduler until that is known. The connection
    /// goes to the comm port of the Service, as that of a client. It is tried after each start of a scheduler, and not again
    /// while the scheduler stays ready.
    pub(crate) fn add(&self, plan: &mut Plan, cluster: &Resource<'_>, observation: &Observation) {
        let scheduler = self.scheduler;
        let not =
            |reason: &str, message: &str| Condition::new(AVAILABLE, ConditionStatus::False, reason, message);
        let condition = if !scheduler.is_ready() {
            not(&scheduler.condition.reason, &scheduler.condition.message)
        } else if let Some(why) = &self.service.unreachable {
            not("ServiceUnreachable", why)
        } else if has_answered(cluster, observation, scheduler) {
            self.registration.condition(AVAILABLE)
        } else {
            let questions = [SchedulerQuestion::Workers];
            let request = scheduler::request(cluster.spec, &questions, scheduler::NOW_AND_THEN);
            let has_tls = request.tls;
            plan.scheduler = Some(request);
            // An answer from before the start. A plan is made again only for one that says something else.
            if let SchedulerState::Facts(_) = observation.scheduler {
                look_again(plan, scheduler::NOW_AND_THEN);
            }
            tried(cluster, &observation.scheduler, has_tls)
                .or_else(|| failed(cluster, scheduler))
                .unwrap_or_else(|| {
                    not(
                        NOT_ASKED,
                        "the scheduler's pod is ready, and a connection is being tried",
                    )
                })
        };
        plan.conditions.insert(0, condition);
    }
}

/// Returns what came of a connection that was tried and not made.
fn tried(cluster: &Resource<'_>, scheduler: &SchedulerState, has_tls: bool) -> Option<Condition> {
    let (status, message) = match scheduler {
        // Without a certificate that the scheduler takes, that the operator can't connect says nothing of clients.
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
    Some(Condition::new(AVAILABLE, status, UNREACHABLE, message))
}

/// Returns what came of an earlier try, which stands until the next one: after a start of the operator, for instance.
fn failed(cluster: &Resource<'_>, scheduler: &Scheduler) -> Option<Condition> {
    let said = cluster
        .condition(AVAILABLE)
        .filter(|said| said["reason"] == UNREACHABLE && is_same(cluster, scheduler))?;
    let status = match said["status"].as_str()? {
        "Unknown" => ConditionStatus::Unknown,
        _ => ConditionStatus::False,
    };
    let message = said["message"].as_str()?;
    Some(Condition::new(AVAILABLE, status, UNREACHABLE, message))
}

/// Whether the scheduler has answered since it was started: it did so before, or it does now.
fn has_answered(cluster: &Resource<'_>, observation: &Observation, scheduler: &Scheduler) -> bool {
    let started = scheduler.present.as_ref().and_then(|present| present.started);
    let answers = observation
        .recent_scheduler_facts()
        .is_some_and(|facts| started.is_none_or(|started| started <= facts.observed_at));
    answers || (cluster.condition_holds(AVAILABLE) && is_same(cluster, scheduler))
}

/// Whether the status is about the scheduler that is there, since its last start.
fn is_same(cluster: &Resource<'_>, scheduler: &Scheduler) -> bool {
    let status = cluster.status;
    scheduler.present.as_ref().is_some_and(|present| {
        // A node may begin to count anew, and the status has the greatest number.
        status["schedulerUid"] == present.uid.as_str()
            && status["schedulerContainerRestarts"].as_u64().unwrap_or(0) >= present.restarts
    })
}
