//! Whether clients can use the cluster: its scheduler is ready, its Service has an address, and a connection was tried.

use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::scheduler;
use dask_operator_plugin::prelude::*;

use crate::registration::Registration;
use crate::scheduler::Scheduler;
use crate::service::Service;

const AVAILABLE: &str = "Available";

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
            tried(&observation.scheduler, has_tls)
        };
        plan.conditions.insert(0, condition);
    }
}

/// What is known of a connection that has not been made yet.
fn tried(scheduler: &SchedulerState, has_tls: bool) -> Condition {
    let (status, reason, message) = match scheduler {
        // Without a certificate that the scheduler takes, that the operator can't connect says nothing of clients.
        SchedulerState::Unreachable(why) if has_tls => (
            ConditionStatus::Unknown,
            "SchedulerUnreachable",
            format!("the operator can't connect to the scheduler by TLS: {why}"),
        ),
        SchedulerState::Unreachable(why) => (
            ConditionStatus::False,
            "SchedulerUnreachable",
            format!(
                "the scheduler's pod is ready, and nothing answers at the comm port of its Service: {why}; look whether the \
                 scheduler listens on the targetPort of spec.scheduler.service.ports[name=tcp-comm]"
            ),
        ),
        SchedulerState::NotAsked | SchedulerState::Facts(_) => (
            ConditionStatus::False,
            "SchedulerNotAsked",
            "the scheduler's pod is ready, and a connection is being tried".to_owned(),
        ),
    };
    Condition::new(AVAILABLE, status, reason, message)
}

/// Whether the scheduler has answered since it was started: it did so before, or it does now.
fn has_answered(cluster: &Resource<'_>, observation: &Observation, scheduler: &Scheduler) -> bool {
    let Some(present) = &scheduler.present else {
        return false;
    };
    let status = cluster.status;
    let is_same = status["schedulerUid"] == present.uid.as_str()
        && status["schedulerContainerRestarts"].as_u64().unwrap_or(0) == present.restarts;
    let answers = observation
        .recent_scheduler_facts()
        .is_some_and(|facts| present.started.is_none_or(|started| started <= facts.observed_at));
    answers || (is_same && cluster.condition_holds(AVAILABLE))
}
