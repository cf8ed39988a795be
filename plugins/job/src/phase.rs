//! The phases of a job.

use dask_operator_plugin::prelude::*;

/// The phases of a job, in order. Flyte and other tools read their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobPhase {
    /// Nothing exists yet.
    JobCreated,
    /// The cluster exists.
    ClusterCreated,
    /// The job's code runs.
    Running,
    /// The job's code succeeded.
    Successful,
    /// The job's code failed, or a limit was exceeded.
    Failed,
}

impl JobPhase {
    /// All phases.
    pub const ALL: [Self; 5] = [
        Self::JobCreated,
        Self::ClusterCreated,
        Self::Running,
        Self::Successful,
        Self::Failed,
    ];

    /// Returns the name in `status.jobStatus`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobCreated => "JobCreated",
            Self::ClusterCreated => "ClusterCreated",
            Self::Running => "Running",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
        }
    }

    /// Reads the phase from a status. `None` before the first one was written.
    pub(crate) fn of(status: &Value) -> Option<Self> {
        let text = status["jobStatus"].as_str()?;
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }

    /// Returns whether the job has ended.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Successful | Self::Failed)
    }
}
