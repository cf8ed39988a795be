//! Reasons why the spec of a plugin resource is not active, and why a component gives no answer.

use dask_operator_core::api_error::RetryPolicy;
use dask_operator_evaluator::logic::PluginFailure;
use dask_operator_runtime::{CallError, FailureReason, LoadError, LoadErrorKind, LoadErrorReason};
use dask_operator_sources::{SourceError, SourceReason};
use thiserror::Error;

use crate::threads::fair_permits::PermitError;

dask_operator_core::reasons! {
    /// Reason why the spec of a plugin resource is not active, for the condition `Ready`, events and metrics.
    pub(crate) enum LoadReason {
        /// The resource names no source: check `source`.
        NoSource => "NoSource",
        /// A pull secret does not exist or has no credentials: check `pullSecrets`.
        SecretUnusable => "SecretUnusable",
        /// The ConfigMap does not exist or does not contain the component: check `source`.
        ConfigMapUnusable => "ConfigMapUnusable",
        /// The API server does not return a ConfigMap or Secret: the message has its error.
        Unreadable => "Unreadable",
        /// A limit is not an amount of bytes: the message names the field.
        InvalidLimit => "InvalidLimit",
        /// A selector is invalid: the message names the field.
        InvalidSelector => "InvalidSelector",
        /// The settings are too large: the message names the field and the limit.
        SettingsTooLarge => "SettingsTooLarge",
        /// The component refuses the settings: the message names the field.
        SettingsRefused => "SettingsRefused",
        /// The component does not have a requested interface: check `interfaces`.
        InterfaceMissing => "InterfaceMissing",
        /// The operator's flags don't allow a DaskPlugin to have this interface (`--allow-tenant-interfaces`).
        InterfaceNotAllowed => "InterfaceNotAllowed",
        /// The component declares child objects of a kind that the operator's flags don't allow (`--allow-child`,
        /// `--allow-tenant-child`).
        KindNotAllowed => "KindNotAllowed",
        /// The component's answer to a sample is not allowed: tell its author.
        SampleRefused => "SampleRefused",
        /// A call failed for a reason that is not the component's: the operator may have a defect. Check its log.
        CallFailed => "PluginFailed",
        /// Only the 20 oldest DaskPlugins of a namespace are loaded: delete those that are not needed.
        TooManyPlugins => "TooManyPlugins",
        /// Nothing to do: the operator ended during a trial of this component or of another one of its namespace, so that the
        /// plugin waits for a trial of its own. That takes a minute or two if no others wait for the same.
        TriedAlone => "TriedAlone",
        /// The operator ended during earlier trials of the component, and does not try it again: push another component. If you
        /// have fixed what ended the operator, change the `spec`. If the whole namespace is in quarantine, wait for an hour.
        Quarantined => "Quarantined",
        /// The component failed in operation, and the previous version is active: tell the component's author. The message has
        /// the last failure.
        RolledBack => "RolledBack",
        /// The active component fails in operation: tell its author. The message has the last failure.
        FailsInOperation => "FailsInOperation",
        /// The operator doesn't know the labels of namespaces: give it `list` and `watch` of `namespaces`.
        NamespacesUnknown => "NamespacesUnknown",
    } containing {
        /// The component can't be fetched.
        Source(SourceReason),
        /// The component can't be loaded or called.
        Component(LoadErrorReason),
    }
}

impl LoadReason {
    /// Returns the reason of a call that failed.
    pub(super) fn of_call(failure: &PluginFailure) -> Self {
        match failure.downcast_ref::<CallError>() {
            Some(error) => error.failure.reason().into(),
            None => Self::CallFailed,
        }
    }

    /// Returns whether load on the host may be the cause, and not the component that was tried.
    pub(super) fn may_be_of_load(self) -> bool {
        matches!(self, Self::Component(LoadErrorReason::Failure(reason)) if reason.may_be_of_load())
    }

    /// Returns whether the version that was active before this process started must not be used either: an administrator has
    /// forbidden it, or its scope is not known any more.
    pub(super) fn forbids(self) -> bool {
        matches!(
            self,
            Self::Source(SourceReason::SourceNotAllowed)
                | Self::InterfaceNotAllowed
                | Self::InvalidSelector
                | Self::TooManyPlugins
        )
    }
}

impl From<SourceReason> for LoadReason {
    fn from(reason: SourceReason) -> Self {
        Self::Source(reason)
    }
}

impl From<LoadErrorReason> for LoadReason {
    fn from(reason: LoadErrorReason) -> Self {
        Self::Component(reason)
    }
}

impl From<FailureReason> for LoadReason {
    fn from(reason: FailureReason) -> Self {
        Self::Component(reason.into())
    }
}

/// Failure to activate the spec of a plugin resource.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub(crate) struct LoadFailure {
    /// Reason, for the condition and for metrics.
    pub(crate) reason: LoadReason,
    /// Message for users.
    pub(crate) message: String,
    /// Digest of the component that was tried and failed; `None` if the failure is about something else.
    pub(crate) tried: Option<String>,
    /// True if no component was tried, because the source provided no usable bytes.
    pub(crate) is_of_source: bool,
    /// True if nothing was tried, because the same trial failed a while ago.
    pub(crate) is_repetition: bool,
}

impl LoadFailure {
    /// Creates a failure with this reason and message.
    pub(super) fn new(reason: impl Into<LoadReason>, message: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
            tried: None,
            is_of_source: false,
            is_repetition: false,
        }
    }

    /// Marks the failure as one of the source.
    pub(super) fn of_source(self) -> Self {
        Self {
            is_of_source: true,
            ..self
        }
    }

    /// Returns whether the failure says nothing about the component, because the cause may lie elsewhere.
    pub(super) fn leaves_open(&self) -> bool {
        self.is_of_source || self.reason.may_be_of_load() || self.reason == LoadReason::NamespacesUnknown
    }

    /// Marks the failure as one of the component with this digest, which was tried.
    pub(super) fn of(self, digest: &str) -> Self {
        Self {
            tried: Some(digest.to_owned()),
            ..self
        }
    }
}

impl From<LoadError> for LoadFailure {
    fn from(error: LoadError) -> Self {
        Self {
            is_repetition: matches!(*error.reason, LoadErrorKind::NotAgain(_)),
            ..Self::new(error.reason.reason(), error.to_string())
        }
    }
}

impl From<SourceError> for LoadFailure {
    fn from(error: SourceError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

dask_operator_core::reasons! {
    /// Reason why a component gives no answer, for the condition `PluginFailed` and for the webhook.
    pub(crate) enum PluginErrorReason {
        /// A component of the operator or of the command line can't be used: check the operator's log.
        Unusable => "PluginUnusable",
        /// A call failed for a reason that is not the component's: the operator may have a defect. Check its log.
        CallFailed => "PluginFailed",
        /// The plugin was active and can't be loaded, or it existed at the start and is being loaded: check the condition
        /// `Ready` of the plugin.
        NotLoaded => "PluginNotLoaded",
        /// The component returned no plan: the message has its reason.
        GaveUp => "PluginGaveUp",
        /// The operator does not know yet which plugins exist. This ends soon after a start; otherwise, the message names the
        /// missing permission.
        PluginsUnknown => "PluginsUnknown",
        /// The labels of a new namespace are not known yet: try again after some seconds.
        NamespaceUnknown => "NamespaceUnknown",
        /// The DaskPlugins of the namespace take more time than their share: make them faster, use fewer, or ask an
        /// administrator to install them as a ClusterDaskPlugin.
        ShareUsed => "PluginShareUsed",
        /// Other calls came first, of plugins of this namespace or of others. The operator retries within seconds. If this
        /// continues, plugins are slow: make those of the namespace faster, or ask an administrator to give the operator more
        /// processors.
        Busy => "PluginsBusy",
        /// The objects of the resource are too large together: divide the workers among several groups.
        ObservationTooLarge => "ObservationTooLarge",
    } containing {
        /// The call failed.
        Call(FailureReason),
    }
}

impl PluginErrorReason {
    /// Returns the reason of a call that gave no answer.
    fn of_call(failure: &PluginFailure) -> Self {
        if let Some(error) = failure.downcast_ref::<CallError>() {
            return Self::Call(error.failure.reason());
        }
        match failure.downcast_ref::<PermitError>() {
            Some(PermitError::Overdrawn { .. }) => Self::ShareUsed,
            Some(PermitError::OthersFirst) => Self::Busy,
            None => Self::CallFailed,
        }
    }

    /// Returns whether the components are not known yet, so that one that forbids something may be among them.
    #[must_use]
    pub(crate) fn is_unknown(self) -> bool {
        matches!(self, Self::PluginsUnknown | Self::NamespaceUnknown)
    }

    /// Returns the way to retry.
    #[must_use]
    pub(crate) fn retry(self) -> RetryPolicy {
        if self == Self::Busy {
            RetryPolicy::Passing
        } else {
            RetryPolicy::BackOff
        }
    }
}

/// Reason why there is no answer from a component.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{title}: {message}")]
pub(crate) struct PluginError {
    /// Title of the component, as `LogicPlugin::title`.
    pub(crate) title: String,
    /// Reason, for conditions.
    pub(crate) reason: PluginErrorReason,
    /// Message for users.
    pub(crate) message: String,
}

impl PluginError {
    /// Creates the error of a component that can't be used.
    #[must_use]
    pub(crate) fn unusable(title: &str, message: String) -> Self {
        Self {
            title: title.to_owned(),
            reason: PluginErrorReason::Unusable,
            message,
        }
    }

    /// Creates the error of a call of the component `title` that gave no answer.
    #[must_use]
    pub(crate) fn no_answer(title: &str, failure: &PluginFailure) -> Self {
        let message = match failure.downcast_ref::<CallError>() {
            // The error's own text contains the title.
            Some(error) => error.failure.to_string(),
            None => failure.to_string(),
        };
        Self {
            title: title.to_owned(),
            reason: PluginErrorReason::of_call(failure),
            message,
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
            assert_eq!(LoadReason::from(reason).may_be_of_load(), expected, "{reason}");
        }
    }

    #[test]
    fn errors_of_permits_have_reasons_of_their_own() {
        let reason = |denied: PermitError| PluginErrorReason::of_call(&denied.into()).as_str();
        assert_eq!(reason(PermitError::OthersFirst), "PluginsBusy");
        let namespace = "n".to_owned();
        assert_eq!(reason(PermitError::Overdrawn { namespace }), "PluginShareUsed");
    }
}
