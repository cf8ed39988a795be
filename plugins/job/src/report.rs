//! What people are told: conditions and events.

use dask_operator_plugin::dask::pod::Cause;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::attempts::Runner;
use crate::life::{Verdict, explained};

/// Whether the runner runs.
pub(crate) const RUNNER_READY: &str = "RunnerReady";
/// The runner should be gone, and is not.
const STUCK: &str = "RunnerStuck";
/// Whether the job is suspended; missing in one that never was.
pub(crate) const SUSPENDED: &str = "Suspended";
/// The cluster was taken away because it had nothing to do.
pub(crate) const CLUSTER_IDLE: &str = "ClusterIdle";

/// The `Suspended` condition of a job, with its status and since when it has it.
fn suspension<'a>(job: &Resource<'a>) -> Option<(&'a Value, Option<Timestamp>)> {
    let conditions = job.status["conditions"].as_array()?;
    let condition = conditions
        .iter()
        .find(|condition| condition["type"] == SUSPENDED)?;
    let since = condition["lastTransitionTime"].as_str().and_then(time::parse);
    Some((&condition["status"], since))
}

/// Since when the job's time runs: since it was resumed, or made.
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

/// Whether the job was ever suspended.
pub(crate) fn was_suspended(job: &Resource<'_>) -> bool {
    suspension(job).is_some()
}

/// Whether the job is suspended.
pub(crate) fn suspended(holds: bool) -> Condition {
    let (reason, message) = match holds {
        true => ("JobSuspended", "nothing runs until spec.suspend is false"),
        false => ("JobResumed", "it was suspended and began anew"),
    };
    Condition::new(SUSPENDED, holds.into(), reason, message)
}

/// Why a suspended job has no runner.
pub(crate) fn runner_is_suspended() -> Condition {
    Condition::new(
        RUNNER_READY,
        ConditionStatus::False,
        "JobSuspended",
        "the job is suspended",
    )
}

/// The last runner failed soon after its start.
pub(crate) fn next_attempt(begins: Timestamp, cause: &Cause) -> Condition {
    let message = format!(
        "the last runner failed soon after its start ({}): the next attempt begins at {}",
        explained(cause),
        time::format(begins)
    );
    Condition::new(RUNNER_READY, ConditionStatus::False, "BackOff", message)
}

/// Whether the runner runs, and why not.
pub(crate) fn runner_ready(verdict: &Verdict, runner: &Runner, name: &str, now: Timestamp) -> Condition {
    let not_ready =
        |reason: &str, message: String| Condition::new(RUNNER_READY, ConditionStatus::False, reason, message);
    if let Verdict::Retry(cause) = verdict {
        let message = format!("pod {name} failed ({}); a new one follows", explained(cause));
        return not_ready("RunnerFailed", message);
    }
    let Some(pod) = runner.any_pod() else {
        return not_ready("RunnerMissing", format!("pod {name} does not exist yet"));
    };
    if let Some(stuck) = pod.stuck(now) {
        let message = format!(
            "{stuck}; the job goes on then and not before, because its code might run twice otherwise"
        );
        return not_ready(STUCK, message);
    }
    if pod.terminating {
        let due = pod
            .due_to_be_gone()
            .map(|due| format!(", to be gone at {}", time::format(due)));
        let message = format!("pod {name} is on its way out{}", due.unwrap_or_default());
        return not_ready("RunnerTerminating", message);
    }
    match pod.trouble(now) {
        Some(cause) => not_ready(&cause.reason, format!("pod {name} waits: {}", cause.message)),
        None if pod.phase() == "Running" => Condition::new(
            RUNNER_READY,
            ConditionStatus::True,
            "RunnerRunning",
            format!("pod {name} runs"),
        ),
        None => not_ready("RunnerStarting", format!("pod {name} is starting")),
    }
}

/// What people are told when the runner, as its condition says now, should be gone and is not.
pub(crate) fn stuck_event(job: &Resource<'_>, runner: &Condition) -> Option<Event> {
    let is_said = job
        .condition(RUNNER_READY)
        .is_some_and(|before| before["reason"] == STUCK);
    (runner.reason == STUCK && !is_said).then(|| Event::warning(STUCK, runner.message.clone()))
}

/// The cluster is or was taken away, in a sentence.
pub(crate) fn cluster_idle(message: &str) -> Condition {
    Condition::new(CLUSTER_IDLE, ConditionStatus::True, "IdleTimeout", message)
}

/// The cluster is taken away.
pub(crate) fn cluster_idle_event() -> Event {
    Event::normal(
        CLUSTER_IDLE,
        "the job's cluster has had nothing to do for its idleTimeout and is deleted; the runner goes on without it",
    )
}

/// An attempt failed, and another follows.
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

/// The job is over.
pub(crate) fn ended(verdict: &Verdict, keeps_cluster: bool) -> Event {
    let cluster = if keeps_cluster { "is kept" } else { "is deleted" };
    match verdict {
        Verdict::Failed(cause) => {
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
