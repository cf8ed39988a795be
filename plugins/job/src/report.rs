//! Conditions and events of a job.

use dask_operator_plugin::dask::conditions::{ClusterIdle, RunnerReady, Suspended};
use dask_operator_plugin::dask::pod::Cause;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::attempts::Runner;
use crate::decision::{Decision, explained};

/// Returns the status and the last transition time of the condition `Suspended`. `None` if the job does not have it.
fn suspension<'a>(job: &Resource<'a>) -> Option<(&'a Value, Option<Timestamp>)> {
    let conditions = job.status["conditions"].as_array()?;
    let condition = conditions
        .iter()
        .find(|condition| condition["type"] == Suspended::TYPE)?;
    let since = condition["lastTransitionTime"].as_str().and_then(time::parse);
    Some((&condition["status"], since))
}

/// Returns the start of the job's active time: its creation or its last resumption.
pub(crate) fn active_since(job: &Resource<'_>, now: Timestamp) -> Option<Timestamp> {
    let created = || {
        let created = job.object["metadata"]["creationTimestamp"].as_str();
        created.and_then(time::parse)
    };
    match suspension(job) {
        Some((status, _)) if status == "True" => Some(now),
        Some((_, since)) => since.or_else(created),
        None => created(),
    }
}

/// Returns whether the job was ever suspended.
pub(crate) fn was_suspended(job: &Resource<'_>) -> bool {
    suspension(job).is_some()
}

/// Returns the condition `Suspended`. Jobs that never were suspended do not have it.
pub(crate) fn suspended(holds: bool) -> Condition {
    let (reason, message) = match holds {
        true => (
            Suspended::JobSuspended,
            "nothing runs until spec.suspend is false",
        ),
        false => (Suspended::JobResumed, "it was suspended and began anew"),
    };
    reason.condition(holds.into(), message)
}

/// Returns the condition `RunnerReady` of a suspended job.
pub(crate) fn runner_is_suspended() -> Condition {
    RunnerReady::JobSuspended.condition(ConditionStatus::False, "the job is suspended")
}

/// Returns the condition `RunnerReady` while the next attempt waits for the back-off.
pub(crate) fn next_attempt(begins: Timestamp, cause: &Cause) -> Condition {
    let message = format!(
        "the last runner failed soon after its start ({}): the next attempt begins at {}",
        explained(cause),
        time::format(begins)
    );
    RunnerReady::BackOff.condition(ConditionStatus::False, message)
}

/// Returns the condition `RunnerReady` for the observed runner.
pub(crate) fn runner_ready(decision: &Decision, runner: &Runner, name: &str, now: Timestamp) -> Condition {
    let not_ready = |reason: RunnerReady, message: String| reason.condition(ConditionStatus::False, message);
    if let Decision::Retry(cause) = decision {
        let message = format!("pod {name} failed ({}); a new one follows", explained(cause));
        return not_ready(RunnerReady::RunnerFailed, message);
    }
    let Some(pod) = runner.any_pod() else {
        return not_ready(
            RunnerReady::RunnerMissing,
            format!("pod {name} does not exist yet"),
        );
    };
    if let Some(stuck) = pod.stuck(now) {
        let message = format!(
            "{stuck}; the job goes on then and not before, because its code might run twice otherwise"
        );
        return not_ready(RunnerReady::RunnerStuck, message);
    }
    if pod.terminating {
        let due = pod
            .due_to_be_gone()
            .map(|due| format!(", to be gone at {}", time::format(due)));
        let message = format!("pod {name} is on its way out{}", due.unwrap_or_default());
        return not_ready(RunnerReady::RunnerTerminating, message);
    }
    match pod.trouble(now) {
        Some(cause) => Condition::new(
            RunnerReady::TYPE,
            ConditionStatus::False,
            &cause.reason,
            format!("pod {name} waits: {}", cause.message),
        ),
        None if pod.phase() == "Running" => {
            RunnerReady::RunnerRunning.condition(ConditionStatus::True, format!("pod {name} runs"))
        }
        None => not_ready(RunnerReady::RunnerStarting, format!("pod {name} is starting")),
    }
}

/// Returns an event if the runner's deletion is stuck and this was not reported yet.
pub(crate) fn stuck_event(job: &Resource<'_>, runner: &Condition) -> Option<Event> {
    let stuck = RunnerReady::RunnerStuck.as_str();
    let is_reported = job
        .condition(RunnerReady::TYPE)
        .is_some_and(|before| before["reason"] == stuck);
    (runner.reason == stuck && !is_reported).then(|| Event::warning(stuck, runner.message.clone()))
}

/// Returns the condition `ClusterIdle` with this message.
pub(crate) fn cluster_idle(message: &str) -> Condition {
    ClusterIdle::IdleTimeout.condition(ConditionStatus::True, message)
}

/// Returns the event for the deletion of an idle cluster.
pub(crate) fn cluster_idle_event() -> Event {
    Event::normal(
        ClusterIdle::TYPE,
        "the job's cluster has had nothing to do for its idleTimeout and is deleted; the runner goes on without it",
    )
}

/// Returns the event for a failed attempt that is followed by another one.
pub(crate) fn failed_attempt(number: u64, retries: Option<u64>, cause: &Cause) -> Event {
    let of = retries.map_or_else(String::new, |retries| {
        format!(" of {}", retries.saturating_add(1))
    });
    let message = format!(
        "attempt {number}{of} failed ({}): a new runner follows",
        explained(cause)
    );
    Event::warning("RunnerFailed", message)
}

/// Returns the event for the end of the job.
pub(crate) fn ended(decision: &Decision, keeps_cluster: bool) -> Event {
    let cluster = if keeps_cluster { "is kept" } else { "is deleted" };
    match decision {
        Decision::Failed(cause) => {
            let who = match cause.reason.as_str() {
                "DeadlineExceeded" | "BackoffLimitExceeded" => "the job",
                _ => "the runner pod",
            };
            let message = format!("{who} failed ({}), the job's cluster {cluster}", explained(cause));
            Event::warning("JobFailed", message)
        }
        _ => Event::normal(
            "JobSuccessful",
            format!("the runner pod succeeded, the job's cluster {cluster}"),
        ),
    }
}
