//! Registration of workers with the scheduler. Workers may be unable to reach a scheduler that is ready, because it listens
//! on another address or with another protocol.
//!
//! The scheduler is queried only if registration takes long, and only until the first worker has registered. The status
//! stores the UID of the scheduler with which a worker has registered. As long as no worker is ready, and no problem with
//! workers is known, no query is made.

use dask_operator_plugin::dask::address;
use dask_operator_plugin::dask::conditions::{Available, SchedulerReady, WorkersReady};
use dask_operator_plugin::dask::main_container;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::role::Role;
use dask_operator_plugin::dask::{fields, scheduler, time};
use dask_operator_plugin::prelude::*;

use crate::group::Groups;
use crate::requeue::requeue_within;
use crate::scheduler::Scheduler;

/// Milliseconds that workers have to register with a ready scheduler.
const GRACE: i64 = 60_000;
/// Milliseconds between two queries.
const QUERY_PERIOD: u64 = 15_000;
/// Maximum number of characters of a connection error in a message.
const MAX_ERROR_CHARS: usize = 300;

/// The state of the registration of workers.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Registration {
    /// UID of the scheduler, if a worker has registered with it.
    with: Option<String>,
    /// Reason and message if no worker has registered. `None` if one has, or if it is too early to tell.
    missing: Option<(Available, String)>,
    /// True if the scheduler must be queried.
    needs_query: bool,
    /// Milliseconds until the next reconcile. `None` if time changes nothing.
    requeue_after: Option<u64>,
}

impl Registration {
    /// Determines the state for a cluster (after defaulting). `is_questionable` is true if its spec has mistakes.
    pub(crate) fn of(
        cluster: &Resource<'_>,
        observation: &Observation,
        scheduler: &Scheduler,
        groups: &Groups,
        is_questionable: bool,
    ) -> Self {
        let uid = scheduler.present.as_ref().map(|present| present.uid.as_str());
        let seen = cluster.status["registeredWith"].as_str();
        let registers = observation
            .scheduler_facts()
            .is_some_and(|facts| !facts.workers.is_empty());
        let with = uid.filter(|uid| registers || seen == Some(*uid));
        let ((wanted, ready), why) = (groups.all_workers, groups.problem_message());
        let mut registration = Self {
            with: with.map(str::to_owned),
            ..Self::default()
        };
        let can_register = wanted > 0 && (ready > 0 || why.is_some());
        if with.is_some() || !scheduler.is_ready() || !can_register {
            return registration;
        }
        // Workers that start later have as much time as the first ones. A reported problem stays until a worker registers.
        let scheduler_since = status_since(cluster, SchedulerReady::TYPE, true);
        let is_known =
            previous_finding(cluster).is_some_and(|(reason, _)| reason == Available::NoWorkerRegistered);
        let since = if why.is_some() || is_known {
            scheduler_since
        } else {
            let workers_since = status_since(cluster, WorkersReady::TYPE, ready >= wanted);
            scheduler_since
                .zip(workers_since)
                .map(|(scheduler, workers)| scheduler.max(workers))
        };
        let rest = since.map_or(GRACE, |since| {
            since.saturating_add(GRACE).saturating_sub(observation.now)
        });
        if rest > 0 {
            registration.requeue_after = u64::try_from(rest).ok();
            return registration;
        }
        registration.needs_query = true;
        registration.missing = match &observation.scheduler {
            SchedulerState::Facts(facts) if since.is_some_and(|since| facts.observed_at >= since) => {
                let why = why.map(|why| format!("; {why}"));
                let hint = match is_questionable {
                    true => "; the condition SpecQuestionable says what is probably wrong".to_owned(),
                    false if ready > 0 => tls_hint(cluster),
                    false => String::new(),
                };
                let address = address::scheduler_address(cluster.name, cluster.namespace, cluster.spec, None);
                Some((
                    Available::NoWorkerRegistered,
                    format!(
                        "clients can connect, but none of {wanted} workers has registered with the scheduler, which they are \
                         told to call at {address}{}{hint}",
                        why.unwrap_or_default()
                    ),
                ))
            }
            SchedulerState::Unreachable(why) => Some((
                Available::SchedulerNotAsked,
                format!(
                    "the scheduler is ready, but it isn't known whether a worker has registered, because the operator can't \
                     ask it by {}: {}{}",
                    address::scheme(&cluster.spec[fields::cluster::SCHEDULER][fields::template::SPEC]),
                    why.chars().take(MAX_ERROR_CHARS).collect::<String>(),
                    tls_hint(cluster)
                ),
            )),
            SchedulerState::Facts(_) | SchedulerState::NotAsked => {
                registration.requeue_after = Some(QUERY_PERIOD);
                previous_finding(cluster)
            }
        };
        registration
    }

    /// Returns the condition `Available` for a cluster whose scheduler and Service are available.
    pub(crate) fn condition(&self) -> Condition {
        let (reason, message) = match &self.missing {
            Some((reason, message)) => (*reason, message.as_str()),
            None => (Available::SchedulerReachable, "clients can connect"),
        };
        reason.condition(ConditionStatus::True, message)
    }

    /// Adds the scheduler query and the requeue time to a plan.
    pub(crate) fn add(&self, plan: &mut Plan, cluster: &Resource<'_>) {
        if let Some(rest) = self.requeue_after {
            requeue_within(plan, rest);
        }
        if !self.needs_query {
            return;
        }
        match &mut plan.scheduler {
            Some(request) if request.questions.contains(&SchedulerQuestion::Workers) => {}
            Some(request) => request.questions.push(SchedulerQuestion::Workers),
            None => {
                let questions = [SchedulerQuestion::Workers];
                plan.scheduler = Some(scheduler::request(cluster.spec, &questions, QUERY_PERIOD));
            }
        }
    }

    /// Writes the UID of the scheduler to a status.
    pub(crate) fn write(&self, status: &mut Value) {
        if let Some(uid) = self.with.as_ref().filter(|uid| !uid.is_empty()) {
            status["registeredWith"] = json!(uid);
        }
    }
}

/// Returns the last transition time of a condition. `None` if its status is not `holds`.
fn status_since(cluster: &Resource<'_>, type_: &str, holds: bool) -> Option<Timestamp> {
    let status = if holds { "True" } else { "False" };
    let condition = cluster
        .condition(type_)
        .filter(|condition| condition["status"] == status)?;
    condition["lastTransitionTime"].as_str().and_then(time::parse)
}

/// Returns the reason and message of the previous condition, which stay until the scheduler replies.
fn previous_finding(cluster: &Resource<'_>) -> Option<(Available, String)> {
    let condition = cluster
        .condition(Available::TYPE)
        .filter(|condition| condition["status"] == "True")?;
    let reasons = [Available::NoWorkerRegistered, Available::SchedulerNotAsked];
    let reason = reasons
        .into_iter()
        .find(|reason| condition["reason"] == reason.as_str())?;
    Some((reason, condition["message"].as_str()?.to_owned()))
}

/// Returns a hint for clusters whose manifest does not state the protocol of the scheduler. Empty otherwise.
pub(crate) fn tls_hint(cluster: &Resource<'_>) -> String {
    let pod_spec = &cluster.spec[fields::cluster::SCHEDULER][fields::template::SPEC];
    if address::written_scheme(pod_spec).is_some() {
        return String::new();
    }
    let main = main_container::position(pod_spec, Role::Scheduler);
    format!(
        "; if its settings turn TLS on, write `--protocol`, `tls` in spec.scheduler.spec.containers[{main}].args, because the \
         operator does not see them"
    )
}
