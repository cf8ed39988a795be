//! Where a job is in its life: from its runner and from what was known before, only forward.

use dask_operator_plugin::dask::pod::{Cause, Pod};
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

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

/// What is known of the runner.
#[derive(Debug)]
pub(crate) enum Runner {
    /// It does not exist and never ran.
    Missing,
    /// It ran and is gone, without having ended.
    Vanished,
    /// It exists.
    Here(Box<Pod>),
}

/// A job at one moment.
#[derive(Debug)]
pub(crate) struct Life {
    /// Where it is.
    pub(crate) stage: Stage,
    /// When the runner's first container was started.
    pub(crate) start: Option<Timestamp>,
    /// When it ended.
    pub(crate) end: Option<Timestamp>,
    /// Why it failed.
    pub(crate) failure: Option<Cause>,
}

impl Life {
    /// Takes a job that was at `before` and started at `start` to where its runner is now.
    pub(crate) fn of(
        before: Stage,
        start: Option<Timestamp>,
        runner: &Runner,
        cluster_exists: bool,
        now: Timestamp,
    ) -> Self {
        let life = |stage: Stage| Self {
            stage: stage.max(before),
            start,
            end: None,
            failure: None,
        };
        match runner {
            Runner::Missing => life(before),
            Runner::Vanished => {
                let failure = Cause {
                    reason: "RunnerLost".to_owned(),
                    message: "the runner pod was deleted or lost before it ended".to_owned(),
                };
                Self {
                    stage: Stage::Failed,
                    start,
                    end: Some(now),
                    failure: Some(failure),
                }
            }
            Runner::Here(pod) if pod.is_over() => Self {
                stage: if pod.phase() == "Succeeded" {
                    Stage::Successful
                } else {
                    Stage::Failed
                },
                start: start.or(pod.started()).or(pod.created),
                end: Some(pod.finished().unwrap_or(now)),
                failure: pod.trouble().filter(|_| pod.phase() == "Failed"),
            },
            Runner::Here(pod) if pod.phase() == "Running" => Self {
                start: start.or(pod.started()).or(Some(now)),
                ..life(Stage::Running)
            },
            Runner::Here(_) if cluster_exists => life(Stage::ClusterCreated),
            Runner::Here(_) => life(before),
        }
    }

    /// The status of the job: exactly the fields that other tools know.
    pub(crate) fn status(&self, job: &str, runner: &str) -> Value {
        let mut status = json!({"jobStatus": self.stage.word()});
        if self.stage > Stage::JobCreated {
            status["clusterName"] = json!(job);
            status["jobRunnerPodName"] = json!(runner);
        }
        for (field, time) in [("startTime", self.start), ("endTime", self.end)] {
            if let Some(time) = time {
                status[field] = json!(time::format(time));
            }
        }
        status
    }
}
