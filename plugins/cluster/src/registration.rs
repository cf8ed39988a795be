//! Whether workers have found the scheduler. One that is ready may still be one that no worker can reach: it listens
//! elsewhere, or with another protocol.
//!
//! It is asked only where that takes long, and until the first worker has registered. The status remembers with which
//! scheduler one has.

use dask_operator_plugin::dask::address;
use dask_operator_plugin::dask::main_container::{self, Role};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::{scheduler, time};
use dask_operator_plugin::prelude::*;

use crate::group::Groups;
use crate::scheduler::{SCHEDULER_READY, Scheduler};

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
        let (wanted, _) = groups.all_workers;
        let mut registration = Self {
            with: with.map(str::to_owned),
            ..Self::default()
        };
        if with.is_some() || !scheduler.is_ready() || wanted == 0 {
            return registration;
        }
        let since = ready_since(cluster);
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
                let why = groups.why().map(|why| format!("; {why}"));
                let hint = match is_questionable {
                    true => "; the condition SpecQuestionable says what is probably wrong".to_owned(),
                    false => tls_hint(cluster),
                };
                let address = address::scheduler_address(cluster.name, cluster.namespace, cluster.spec, None);
                Some((
                    "NoWorkerRegistered",
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
            SchedulerState::Facts(_) | SchedulerState::NotAsked => said(cluster),
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
        plan.requeue_after = [plan.requeue_after, self.look_again].into_iter().flatten().min();
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

/// A condition that the status has.
fn present<'a>(cluster: &Resource<'a>, type_: &str) -> Option<&'a Value> {
    let conditions = cluster.status["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)
}

/// Since when the scheduler is ready, as the status says.
fn ready_since(cluster: &Resource<'_>) -> Option<Timestamp> {
    let condition = present(cluster, SCHEDULER_READY).filter(|condition| condition["status"] == "True")?;
    condition["lastTransitionTime"].as_str().and_then(time::parse)
}

/// What was said before, until there is an answer.
fn said(cluster: &Resource<'_>) -> Option<(&'static str, String)> {
    let condition = present(cluster, "Available").filter(|condition| condition["status"] == "True")?;
    let reasons = ["NoWorkerRegistered", "SchedulerNotAsked"];
    let reason = reasons
        .into_iter()
        .find(|reason| condition["reason"] == *reason)?;
    Some((reason, condition["message"].as_str()?.to_owned()))
}

/// What may be the matter where the manifest does not say how the scheduler listens.
fn tls_hint(cluster: &Resource<'_>) -> String {
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
