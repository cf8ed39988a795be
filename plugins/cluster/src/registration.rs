//! Whether workers have found the scheduler. One that is ready may still be one that no worker can reach: it listens
//! elsewhere, or with another protocol.
//!
//! It is asked only where that takes long, and until the first worker has registered. The status remembers with which
//! scheduler one has. As long as no worker is ready, and nothing is known to keep workers away, there is nothing to ask.

use dask_operator_plugin::dask::address;
use dask_operator_plugin::dask::main_container::{self, Role};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::{scheduler, time};
use dask_operator_plugin::prelude::*;

use crate::group::{Groups, WORKERS_READY};
use crate::plan::look_again;
use crate::scheduler::{SCHEDULER_READY, Scheduler};

/// The reason of `Available` where none has registered.
const NO_WORKER: &str = "NoWorkerRegistered";
/// Milliseconds that workers have to register with a scheduler that is ready.
const GRACE: i64 = 60_000;
/// Milliseconds between two questions.
const PERIOD: u64 = 15_000;
/// Characters of somebody else's words.
const WORDS: usize = 300;

/// What is known of workers that register.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Registration {
    /// The UID of the scheduler, if a worker has registered with it.
    with: Option<String>,
    /// Why none has, as far as is known: a reason and a sentence.
    missing: Option<(&'static str, String)>,
    /// The scheduler is to be asked.
    asks: bool,
    /// In how many milliseconds to look again.
    look_again: Option<u64>,
}

impl Registration {
    /// Looks at the cluster (after defaulting). `is_questionable` where its spec has mistakes.
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
        let ((wanted, ready), why) = (groups.all_workers, groups.why());
        let mut registration = Self {
            with: with.map(str::to_owned),
            ..Self::default()
        };
        let can_register = wanted > 0 && (ready > 0 || why.is_some());
        if with.is_some() || !scheduler.is_ready() || !can_register {
            return registration;
        }
        // Workers that come later have as much time as the first ones. What was said stands until one registers.
        let scheduler_since = status_since(cluster, SCHEDULER_READY, true);
        let is_known = said(cluster).is_some_and(|(reason, _)| reason == NO_WORKER);
        let since = if why.is_some() || is_known {
            scheduler_since
        } else {
            let workers_since = status_since(cluster, WORKERS_READY, ready >= wanted);
            scheduler_since
                .zip(workers_since)
                .map(|(scheduler, workers)| scheduler.max(workers))
        };
        let rest = since.map_or(GRACE, |since| {
            since.saturating_add(GRACE).saturating_sub(observation.now)
        });
        if rest > 0 {
            registration.look_again = u64::try_from(rest).ok();
            return registration;
        }
        registration.asks = true;
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
                    NO_WORKER,
                    format!(
                        "clients can connect, but none of {wanted} workers has registered with the scheduler, which they are \
                         told to call at {address}{}{hint}",
                        why.unwrap_or_default()
                    ),
                ))
            }
            SchedulerState::Unreachable(why) => Some((
                "SchedulerNotAsked",
                format!(
                    "the scheduler is ready, but it isn't known whether a worker has registered, because the operator can't \
                     ask it by {}: {}{}",
                    address::scheme(&cluster.spec["scheduler"]["spec"]),
                    why.chars().take(WORDS).collect::<String>(),
                    tls_hint(cluster)
                ),
            )),
            SchedulerState::Facts(_) | SchedulerState::NotAsked => {
                registration.look_again = Some(PERIOD);
                said(cluster)
            }
        };
        registration
    }

    /// The condition of a cluster whose scheduler and Service are as they should be.
    pub(crate) fn condition(&self, type_: &str) -> Condition {
        let (reason, message) = match &self.missing {
            Some((reason, message)) => (*reason, message.as_str()),
            None => ("SchedulerReachable", "clients can connect"),
        };
        Condition::new(type_, ConditionStatus::True, reason, message)
    }

    /// Puts into a plan what is asked, and when to look again.
    pub(crate) fn add(&self, plan: &mut Plan, cluster: &Resource<'_>) {
        if let Some(rest) = self.look_again {
            look_again(plan, rest);
        }
        if !self.asks {
            return;
        }
        match &mut plan.scheduler {
            Some(request) if request.questions.contains(&SchedulerQuestion::Workers) => {}
            Some(request) => request.questions.push(SchedulerQuestion::Workers),
            None => {
                let questions = [SchedulerQuestion::Workers];
                plan.scheduler = Some(scheduler::request(cluster.spec, &questions, PERIOD));
            }
        }
    }

    /// Puts it into a status.
    pub(crate) fn write(&self, status: &mut Value) {
        if let Some(uid) = self.with.as_ref().filter(|uid| !uid.is_empty()) {
            status["registeredWith"] = json!(uid);
        }
    }
}

/// Since when a condition holds, or doesn't, as the status says; none where that is not what the status says.
fn status_since(cluster: &Resource<'_>, type_: &str, holds: bool) -> Option<Timestamp> {
    let status = if holds { "True" } else { "False" };
    let condition = cluster
        .condition(type_)
        .filter(|condition| condition["status"] == status)?;
    condition["lastTransitionTime"].as_str().and_then(time::parse)
}

/// What was said before, until there is an answer.
fn said(cluster: &Resource<'_>) -> Option<(&'static str, String)> {
    let condition = cluster
        .condition("Available")
        .filter(|condition| condition["status"] == "True")?;
    let reasons = [NO_WORKER, "SchedulerNotAsked"];
    let reason = reasons
        .into_iter()
        .find(|reason| condition["reason"] == *reason)?;
    Some((reason, condition["message"].as_str()?.to_owned()))
}

/// What may be the matter where the manifest does not say how the scheduler listens.
pub(crate) fn tls_hint(cluster: &Resource<'_>) -> String {
    let pod_spec = &cluster.spec["scheduler"]["spec"];
    if address::written_scheme(pod_spec).is_some() {
        return String::new();
    }
    let main = main_container::position(pod_spec, Role::Scheduler);
    format!(
        "; if its settings turn TLS on, write `--protocol`, `tls` in spec.scheduler.spec.containers[{main}].args, because the \
         operator does not see them"
    )
}
