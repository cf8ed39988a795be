//! Where a job is in its life: from its runner and from what was known before, only forward.

use dask_operator_plugin::dask::pod::Cause;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::attempts::{Attempts, Runner};

/// The stages of a job, in their order. Flyte and other tools read the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    JobCreated,
    ClusterCreated,
    Running,
    Successful,
    Failed,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::JobCreated,
        Self::ClusterCreated,
        Self::Running,
        Self::Successful,
        Self::Failed,
    ];

    /// The word in `status.jobStatus`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::JobCreated => "JobCreated",
            Self::ClusterCreated => "ClusterCreated",
            Self::Running => "Running",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
        }
    }

    /// The stage that a status says; none before the first was written.
    pub(crate) fn of(status: &Value) -> Option<Self> {
        let word = status["jobStatus"].as_str()?;
        Self::ALL.into_iter().find(|stage| stage.word() == word)
    }

    /// Nothing will happen any more.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Successful | Self::Failed)
    }
}

/// What a job may do, as its spec says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// How many attempts there may be beyond the first; none where the runner's `restartPolicy` alone decides.
    pub(crate) retries: Option<u64>,
    /// Containers of the runner are started again by their node.
    pub(crate) restarts: bool,
    /// When it has to be over.
    pub(crate) deadline: Option<Timestamp>,
    /// It shall not run now.
    pub(crate) suspend: bool,
}

impl Limits {
    /// Reads a job's spec, whether it is right or not; `since` is when its time began.
    pub(crate) fn of(spec: &Value, since: Option<Timestamp>) -> Self {
        let deadline = since
            .zip(time::seconds(&spec["activeDeadlineSeconds"]))
            .map(|(since, time)| since.saturating_add(time));
        Self {
            retries: spec["backoffLimit"].as_u64(),
            restarts: spec["job"]["spec"]["restartPolicy"] != "Never",
            deadline,
            suspend: spec["suspend"] == true,
        }
    }

    /// How many attempts there may be.
    fn attempts(&self) -> Option<u64> {
        self.retries.map(|retries| retries.saturating_add(1))
    }
}

/// What follows from what is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is over, and was successful.
    Successful,
    /// It is over, and why.
    Failed(Cause),
    /// It has to stop for now.
    Suspended,
    /// A runner has to be made.
    Start,
    /// The runner failed and has to go; another follows.
    Retry(Cause),
    /// It goes on.
    GoOn,
}

impl Verdict {
    /// Judges a job that was at `before`. What a runner has come to counts first, then what people want.
    pub(crate) fn of(
        before: Stage,
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
                (Runner::Here(pod), Some(most)) if limits.restarts && started >= most => {
                    let beyond = (started > most).then(|| Cause {
                        reason: "Restarted".to_owned(),
                        message: "its container was started again".to_owned(),
                    });
                    match pod.failed_container().or(beyond) {
                        Some(cause) => failed(cause),
                        None => Self::GoOn,
                    }
                }
                (Runner::Here(_) | Runner::Leftover(_), _) => Self::GoOn,
                (Runner::Lost, None) if before >= Stage::Running => Self::Failed(lost()),
                (Runner::Lost | Runner::Missing, Some(_)) if exhausted => failed(lost()),
                (Runner::Lost | Runner::Missing, _) => Self::Start,
            },
        }
    }

    /// Nothing will happen any more.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Successful | Self::Failed(_))
    }

    /// Where a job is that was at `before`.
    pub(crate) fn stage(&self, before: Stage, runner: &Runner, cluster_exists: bool) -> Stage {
        let seen = match (self, runner.pod()) {
            (Self::Successful, _) => return Stage::Successful,
            (Self::Failed(_), _) => return Stage::Failed,
            (Self::Suspended, _) | (_, None) => before,
            (_, Some(pod)) if pod.phase() == "Running" => Stage::Running,
            (_, Some(_)) if cluster_exists => Stage::ClusterCreated,
            (_, Some(_)) => before,
        };
        seen.max(before)
    }
}

/// Why a job failed whose runner is gone.
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

/// A cause in one line: `OOMKilled: it ended with code 137`.
pub(crate) fn explained(cause: &Cause) -> String {
    if cause.message.is_empty() {
        cause.reason.clone()
    } else {
        format!("{}: {}", cause.reason, cause.message)
    }
}

/// The status of a job: the fields that other tools know.
pub(crate) fn status(
    stage: Stage,
    job: &str,
    runner: &str,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
) -> Value {
    let mut status = json!({"jobStatus": stage.word()});
    if stage > Stage::JobCreated {
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
