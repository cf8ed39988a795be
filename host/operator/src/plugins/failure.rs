//! Why what a plugin resource asks for is not in force.

use dask_operator_runtime::{LoadError, Unfit};
use dask_operator_sources::SourceError;

/// The reason of what failed in operation and was taken back for what was in force before it.
pub(super) const ROLLED_BACK: &str = "RolledBack";

/// The reason of one that may not be what it is in a namespace.
pub(super) const INTERFACE_NOT_ALLOWED: &str = "InterfaceNotAllowed";

/// The reason of one too many in its namespace.
pub(super) const TOO_MANY: &str = "TooManyPlugins";

/// The reason of a component that is not tried again, because the operator has ended while it was.
pub(super) const QUARANTINED: &str = "Quarantined";

/// The reason of one that is tried when nothing else is, because the operator has ended while it, or another one of its
/// namespace, was tried.
pub(super) const TRIED_ALONE: &str = "TriedAlone";

/// The reason of settings that are larger than settings may be.
pub(super) const SETTINGS_TOO_LARGE: &str = "SettingsTooLarge";

/// The reason of a selector that makes no sense.
pub(super) const INVALID_SELECTOR: &str = "InvalidSelector";

/// The reason of one of which the operator can't say which namespaces it is for.
pub(super) const NAMESPACES_UNKNOWN: &str = "NamespacesUnknown";

/// Why what a plugin resource asks for is not in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct LoadFailure {
    /// In one word in CamelCase, for the condition and for metrics.
    pub(super) reason: &'static str,
    /// In a sentence.
    pub(super) message: String,
    /// The digest of the component that was tried, where that is what failed.
    pub(super) tried: Option<String>,
    /// Whether there was nothing to try: nothing that can be used came from the source.
    pub(super) is_of_source: bool,
    /// Whether nothing was tried, because that failed a while ago.
    pub(super) is_known: bool,
}

impl LoadFailure {
    /// With that reason.
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            tried: None,
            is_of_source: false,
            is_known: false,
        }
    }

    /// The same of a source.
    pub(super) fn of_source(self) -> Self {
        Self {
            is_of_source: true,
            ..self
        }
    }

    /// The same of a component with this digest, that was tried.
    pub(super) fn of(self, digest: &str) -> Self {
        Self {
            tried: Some(digest.to_owned()),
            ..self
        }
    }

    /// Whether what else there was to do may have brought it about, and not the component that was tried.
    pub(super) fn may_be_of_load(&self) -> bool {
        ["PluginDeadlineExceeded", "NoTimeLeft", "HostExhausted"].contains(&self.reason)
    }

    /// Whether it leaves open what the resource asks for: somebody else may have brought it about, and nothing is said about
    /// the component.
    pub(super) fn leaves_open(&self) -> bool {
        self.is_of_source || self.may_be_of_load() || self.reason == NAMESPACES_UNKNOWN
    }

    /// Whether what was in force before this process began must not go on: because somebody has forbidden it, or because
    /// nobody can say any more what it is for.
    pub(super) fn forbids(&self) -> bool {
        let reasons = [
            "SourceNotAllowed",
            INTERFACE_NOT_ALLOWED,
            INVALID_SELECTOR,
            TOO_MANY,
        ];
        reasons.contains(&self.reason)
    }
}

impl From<LoadError> for LoadFailure {
    fn from(error: LoadError) -> Self {
        Self {
            is_known: matches!(*error.reason, Unfit::NotAgain(_)),
            ..Self::new(error.reason.reason(), error.to_string())
        }
    }
}

impl From<SourceError> for LoadFailure {
    fn from(error: SourceError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dask_operator_runtime::Failure;

    use super::*;

    #[test]
    fn what_is_late_or_has_no_room_may_be_so_because_of_load() {
        let late = Failure::Deadline {
            limit: Duration::from_secs(1),
        };
        for (failure, expected) in [
            (late, true),
            (Failure::Exhausted("it is full".into()), true),
            (Failure::Missing, false),
        ] {
            let reason = failure.reason();
            assert_eq!(
                LoadFailure::new(reason, "m").may_be_of_load(),
                expected,
                "{reason}"
            );
        }
    }
}
