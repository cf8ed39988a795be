//! Reasons why the spec of a plugin resource is not active, and why a component gives no answer.

use dask_operator_core::category::Retry;
use dask_operator_evaluator::logic::Failure;
use dask_operator_runtime::{CallError, LoadError, Unfit};
use dask_operator_sources::SourceError;
use thiserror::Error;

use crate::threads::shares::Denied;

/// Reason of a component that failed in operation and was rolled back to the version before.
pub(super) const ROLLED_BACK: &str = "RolledBack";

/// Reason of a plugin with an interface that plugins of a namespace may not implement.
pub(super) const INTERFACE_NOT_ALLOWED: &str = "InterfaceNotAllowed";

/// Reason of a plugin beyond the limit of its namespace.
pub(super) const TOO_MANY: &str = "TooManyPlugins";

/// Reason of a component that is not tried again, because the operator ended during earlier trials.
pub(super) const QUARANTINED: &str = "Quarantined";

/// Reason of a component that is tried only while nothing else is, because the operator ended during a trial of it or of another
/// component of its namespace.
pub(super) const TRIED_ALONE: &str = "TriedAlone";

/// Reason of settings that exceed the size limit.
pub(super) const SETTINGS_TOO_LARGE: &str = "SettingsTooLarge";

/// Reason of an invalid selector.
pub(super) const INVALID_SELECTOR: &str = "InvalidSelector";

/// Reason of a plugin whose namespaces the operator can't determine.
pub(super) const NAMESPACES_UNKNOWN: &str = "NamespacesUnknown";

/// Failure to activate the spec of a plugin resource.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub(crate) struct LoadFailure {
    /// Reason as one word in CamelCase, for the condition and for metrics.
    pub(crate) reason: &'static str,
    /// Message for users.
    pub(crate) message: String,
    /// Digest of the component that was tried and failed; `None` if the failure is about something else.
    pub(crate) tried: Option<String>,
    /// True if no component was tried, because the source provided no usable bytes.
    pub(crate) is_of_source: bool,
    /// True if nothing was tried, because the same trial failed a while ago.
    pub(crate) is_known: bool,
}

impl LoadFailure {
    /// Creates a failure with this reason and message.
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            tried: None,
            is_of_source: false,
            is_known: false,
        }
    }

    /// Marks the failure as one of the source.
    pub(super) fn of_source(self) -> Self {
        Self {
            is_of_source: true,
            ..self
        }
    }

    /// Marks the failure as one of the component with this digest, which was tried.
    pub(super) fn of(self, digest: &str) -> Self {
        Self {
            tried: Some(digest.to_owned()),
            ..self
        }
    }

    /// Returns whether load on the host may be the cause, and not the component that was tried.
    pub(super) fn may_be_of_load(&self) -> bool {
        ["PluginDeadlineExceeded", "NoTimeLeft", "HostExhausted"].contains(&self.reason)
    }

    /// Returns whether the failure says nothing about the component, because the cause may lie elsewhere.
    pub(super) fn leaves_open(&self) -> bool {
        self.is_of_source || self.may_be_of_load() || self.reason == NAMESPACES_UNKNOWN
    }

    /// Returns whether the version that was active before this process started must not be used either: an administrator has
    /// forbidden it, or its scope is not known any more.
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

/// Reason why there is no answer from a component.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{title}: {message}")]
pub(crate) struct PluginError {
    /// Title of the component, as `LogicPlugin::title`.
    pub(crate) title: String,
    /// Reason as one word in CamelCase.
    pub(crate) reason: &'static str,
    /// Message for users.
    pub(crate) message: String,
}

impl PluginError {
    /// Creates the error of a component that can't be used.
    #[must_use]
    pub(crate) fn unusable(title: &str, message: String) -> Self {
        Self {
            title: title.to_owned(),
            reason: "PluginUnusable",
            message,
        }
    }

    /// Returns whether the components are not known yet, so that one that forbids something may be among them.
    #[must_use]
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.reason, "PluginsUnknown" | "NamespaceUnknown")
    }

    /// Creates the error of a call of the component `title` that gave no answer.
    #[must_use]
    pub(crate) fn no_answer(title: &str, error: &Failure) -> Self {
        let (reason, message) = match (error.downcast_ref::<CallError>(), error.downcast_ref::<Denied>()) {
            (Some(error), _) => (error.failure.reason(), error.failure.to_string()),
            (None, Some(denied)) => (denied.reason(), denied.to_string()),
            (None, None) => ("PluginFailed", error.to_string()),
        };
        Self {
            title: title.to_owned(),
            reason,
            message,
        }
    }

    /// Returns the way to retry.
    #[must_use]
    pub(crate) fn retry(&self) -> Retry {
        if self.reason == crate::threads::shares::OTHERS_FIRST {
            Retry::Passing
        } else {
            Retry::BackOff
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dask_operator_runtime::Failure;

    use super::*;

    #[test]
    fn deadlines_and_exhausted_memory_may_be_caused_by_load() {
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
