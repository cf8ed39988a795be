//! The phases of a cluster.

use dask_operator_plugin::prelude::*;

/// A phase of a cluster. The host sets the phase `Error` if the cluster can't be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterPhase {
    /// Not all parts exist yet.
    Created,
    /// The Service can't be reached yet, or the cluster is suspended.
    Pending,
    /// All parts exist, and the Service can be reached.
    Running,
}

impl ClusterPhase {
    /// All phases.
    pub const ALL: [Self; 3] = [Self::Created, Self::Pending, Self::Running];

    /// Returns the name in `status.phase`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Pending => "Pending",
            Self::Running => "Running",
        }
    }

    /// Reads the phase from a status. `None` if there is none, or another one than those of this component.
    pub(crate) fn of(status: &Value) -> Option<Self> {
        let text = status["phase"].as_str()?;
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}
