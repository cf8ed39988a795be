//! Why what a plugin resource asks for is not in force.

use dask_operator_sources::SourceError;

/// The reason of what failed in operation and was taken back for what was in force before it.
pub(super) const ROLLED_BACK: &str = "RolledBack";

/// The reason of a selector that makes no sense.
pub(super) const INVALID_SELECTOR: &str = "InvalidSelector";

/// Why what a plugin resource asks for is not in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct LoadFailure {
    /// In one word in CamelCase, for the condition and for metrics.
    pub(super) reason: &'static str,
    /// In a sentence.
    pub(super) message: String,
}

impl LoadFailure {
    /// With that reason.
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Whether what was in force before this process began must not go on: because somebody has forbidden it, or because
    /// nobody can say any more what it is for.
    pub(super) fn forbids(&self) -> bool {
        ["SourceNotAllowed", INVALID_SELECTOR].contains(&self.reason)
    }
}

impl From<SourceError> for LoadFailure {
    fn from(error: SourceError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}
