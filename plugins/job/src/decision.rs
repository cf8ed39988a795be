//! The phase of a job, derived from its runner and its previous phase. It only moves forward.

use dask_operator_plugin::dask::fields;
use dask_operator_plugin::dask::pod::Cause;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::attempts::{Attempts, Runner};
use crate::phase::JobPhase;

/// The limits in a job's spec.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Maximum number of attempts after the first. `None` if only the runner's `restartPolicy` decides.
    pub(crate) retries: Option<u64>,
    /// True if the node restarts containers of the runner.
    pub(crate) restarts: bool,
    /// Time at which the job must have ended. `None` without a deadline.
    pub(crate) deadline: Option<Timestamp>,
    /// True if the job is suspended.
    pub(crate) suspend: bool,
}

impl Limits {
    /// Reads a job's spec, even if it is invalid. `since` is the start of the active time.
    pub(crate) fn of(spec: &Value, since: Option<Timestamp>) -> Self {
        let deadline = since
            .zip(time::seconds(&spec[fields::job::ACTIVE_DEADLINE]))
            .map(|(since, time)| since.saturating_add(time));
        Self {
            retries: spec[fields::job::BACKOFF_LIMIT].as_u64(),
            restarts: spec[fields::job::JOB][fields::template::SPEC]["restartPolicy"] != "Never",
            deadline,
            suspend: spec[fields::job::SUSPEND] == true,
        }
    }

    /// Returns the maximum number of attempts.
    fn attempts(&self) -> Option<u64> {
        self.retries.map(|retries| retries.saturating_add(1))
    }
}

/// The consequence of the observed state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The job has ended successfully.
    Successful,
    /// The job has failed with this cause.
    Failed(Cause),
    /// The job must stop for now.
    Suspended,
    /// A runner must be created.
    Start,
    /// The runner failed and must be deleted, and another one follows.
    Retry(Cause),
    /// The job continues.
    Continue,
}

impl Decision {
    /// Decides about a job with the previous phase `before`. The end of a runner takes precedence over the spec.
    pub(crate) fn of(
        before: JobPhase,
        limits: &Limits,
        attempts: Option<&Attempts>,
        runner: &Runner,
        now: Timestamp,
    ) -> Self {
        let started = attempts.map_or(0, Attempts::started);
        let is_late = limits.deadline.is_some_and(|deadline| deadline <= now);
        let exhausted = limits.attempts().is_some_and(|most| started >= most);
        let failed = |cause: Cause| match limits.attempts() {
            None => Self::Failed(cause),
            Some(most) if exhausted => Self::Failed(backoff_limit_exceeded(started, most, &cause)),
            Some(_) => Self::Retry(cause),
        };
        let pod = runner.pod();
        let end = match pod {
            Some(pod) if pod.phase() == "Succeeded" => Some(Self::Successful),
            Some(pod) if pod.is_over() => Some(failed(pod.trouble(now).unwrap_or_else(lost))),
            _ => None,
        };
        match end {
            Some(end @ (Self::Successful | Self::Failed(_))) => end,
            _ if limits.suspend => Self::Suspended,
            _ if is_late => Self::Failed(deadline_exceeded()),
            Some(end) => end,
            None => match (runner, limits.attempts()) {
                (Runner::Present(pod), Some(most)) if limits.restarts && started >= most => {
                    let beyond = (started > most).then(|| Cause {
                        reason: "Restarted".to_owned(),
                        message: "its container was started again".to_owned(),
                    });
                    match pod.failed_container().or(beyond) {
                        Some(cause) => failed(cause),
                        None => Self::Continue,
                    }
                }
                (Runner::Present(_) | Runner::Leftover(_), _) => Self::Continue,
                (Runner::Lost, None) if before >= JobPhase::Running => Self::Failed(lost()),
                (Runner::Lost | Runner::Missing, Some(_)) if exhausted => failed(lost()),
                (Runner::Lost | Runner::Missing, _) => Self::Start,
            },
        }
    }

    /// Returns whether the job has ended.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Successful | Self::Failed(_))
    }

    /// Returns the phase of a job with the previous phase `before`.
    pub(crate) fn phase(&self, before: JobPhase, runner: &Runner, cluster_exists: bool) -> JobPhase {
        let seen = match (self, runner.pod()) {
            (Self::Successful, _) => return JobPhase::Successful,
            (Self::Failed(_), _) => return JobPhase::Failed,
            (Self::Suspended, _) | (_, None) => before,
            (_, Some(pod)) if pod.phase() == "Running" => JobPhase::Running,
            (_, Some(_)) if cluster_exists => JobPhase::ClusterCreated,
            (_, Some(_)) => before,
        };
        seen.max(before)
    }
}

/// Returns the cause for a job whose runner is gone.
pub(crate) fn lost() -> Cause {
    Cause {
        reason: "RunnerLost".to_owned(),
        message: "the runner pod was deleted or lost before it ended".to_owned(),
    }
}

fn deadline_exceeded() -> Cause {
    Cause {
        reason: "DeadlineExceeded".to_owned(),
        message: "it took longer than its activeDeadlineSeconds".to_owned(),
    }
}

fn backoff_limit_exceeded(started: u64, most: u64, cause: &Cause) -> Cause {
    Cause {
        reason: "BackoffLimitExceeded".to_owned(),
        message: format!("attempt {started} of {most} failed ({})", explained(cause)),
    }
}

/// Formats a cause in one line: `OOMKilled: it ended with code 137`.
pub(crate) fn explained(cause: &Cause) -> String {
    if cause.message.is_empty() {
        cause.reason.clone()
    } else {
        format!("{}: {}", cause.reason, cause.message)
    }
}

/// Builds the status of a job with the fields that other tools know.
pub(crate) fn status(
    phase: JobPhase,
    job: &str,
    runner: &str,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
) -> Value {
    let mut status = json!({"jobStatus": phase.as_str()});
    if phase > JobPhase::JobCreated {
        status["clusterName"] = json!(job);
        status["jobRunnerPodName"] = json!(runner);
    }
    for (field, time) in [("startTime", start), ("endTime", end)] {
        if let Some(time) = time {
            status[field] = json!(time::format(time));
        }
    }
    status
}
