//! Problems with a resource or with the execution of its plan, as conditions and events. Pure.

use dask_operator_core::api_error::{ErrorClass, RetryPolicy};
use dask_operator_core::conditions::HostCondition;
use dask_operator_core::plan::{ConditionStatus, DesiredCondition, Event, EventType, ResourceKind};
use dask_operator_core::text;
use dask_operator_evaluator::findings::to_text;
use dask_operator_evaluator::plan::PlanError;
use dask_operator_evaluator::review::{Remark, ReviewError};
use dask_operator_runtime::contract;
use serde_json::Value;

use crate::client::error::WriteError;
use crate::client::object::Object;
use crate::plugins::{PluginError, PluginErrorReason};

/// Limit of a condition's message, in bytes.
const MAX_MESSAGE: usize = 2048;

/// Number of failures in a row after which a condition reports a transient problem.
const MIN_FAILURES: u32 = 5;

dask_operator_core::reasons! {
    /// Reason of a problem. Each one belongs to one condition.
    pub(crate) enum Reason {
        /// The operator can't list child objects of a kind that the component needs: the message has the cause.
        Unlisted => "Unlisted",
        /// The plan breaks a rule of the gate, or a policy changed more than it may: tell the author of the component.
        RuleBroken => "RuleBroken",
        /// A policy forbids the plan: the message has its reason.
        PolicyRefused => "PolicyRefused",
        /// A policy can't decide about the plan: the message has its reason.
        PolicyUndecided => "PolicyUndecided",
        /// The resource is invalid. Its phase is `Error` until you change it.
        Invalid => "Invalid",
        /// A policy in monitor mode would not have permitted the plan. It is carried out.
        Monitored => "Monitored",
    } containing {
        /// The component can't be used, or its call failed, for this reason.
        Plugin(PluginErrorReason),
        /// The API server did not carry out a write, for this reason.
        Write(ErrorClass),
    }
}

impl Reason {
    /// Returns the condition that has this reason.
    pub(crate) fn condition(self) -> HostCondition {
        match self {
            Self::Plugin(_) => HostCondition::PluginFailed,
            Self::Unlisted => HostCondition::KindNotListed,
            Self::RuleBroken | Self::PolicyRefused | Self::PolicyUndecided => HostCondition::PlanRefused,
            Self::Write(_) => HostCondition::ApplyFailed,
            Self::Invalid => HostCondition::SpecInvalid,
            Self::Monitored => HostCondition::PolicyViolated,
        }
    }
}

/// A problem, as a condition and, if it is new, an event.
pub(crate) struct Problem {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// True if `phase` becomes `Error`.
    pub(crate) is_fatal: bool,
    pub(crate) retry: RetryPolicy,
}

impl Problem {
    /// Returns a problem that is not fatal and is retried with a back-off.
    fn new(reason: Reason, message: String) -> Self {
        Self {
            reason,
            message,
            is_fatal: false,
            retry: RetryPolicy::BackOff,
        }
    }

    /// Reports that there is no plan.
    pub(crate) fn plan(error: PlanError) -> Self {
        match error {
            PlanError::Call { title, failure } => Self::plugin(&PluginError::no_answer(&title, &failure)),
            PlanError::Invalid(findings) => Self::findings(&findings),
            PlanError::GaveUp { title, message } => Self::new(
                Reason::Plugin(PluginErrorReason::GaveUp),
                format!("{title}: {message}"),
            ),
            PlanError::Review(error) => Self::review(error),
            error @ (PlanError::TooLarge { .. } | PlanError::Refused { .. }) => {
                Self::new(Reason::RuleBroken, error.to_string())
            }
        }
    }

    /// Reports that the component can't be called, or that the call failed.
    pub(crate) fn plugin(error: &PluginError) -> Self {
        Self {
            retry: error.reason.retry(),
            ..Self::new(Reason::Plugin(error.reason), error.to_string())
        }
    }

    /// Reports that the children of this kind can't be listed for the component `title`.
    pub(crate) fn not_listed(title: &str, kind: &ResourceKind, why: &str) -> Self {
        let message = format!(
            "{title} has to know which {} objects there are, and nothing is changed until it does: {why}",
            kind.kind
        );
        Self::new(Reason::Unlisted, message)
    }

    /// Reports that the component `title` would receive objects with more than `most` bytes of JSON.
    pub(crate) fn too_large(title: &str, most: usize) -> Self {
        let message = format!(
            "{title} is not asked, and nothing is changed: the objects that it has to know, as the API server has them, take \
             more than {} MiB together: divide the workers among several worker groups, or take large annotations off their pods",
            most >> 20
        );
        Self::new(Reason::Plugin(PluginErrorReason::ObservationTooLarge), message)
    }

    /// Reports an invalid resource.
    pub(crate) fn invalid(message: String) -> Self {
        Self {
            is_fatal: true,
            retry: RetryPolicy::OnChange,
            ..Self::new(Reason::Invalid, message)
        }
    }

    /// Reports the errors that the component found in the resource.
    pub(crate) fn findings(findings: &[contract::Finding]) -> Self {
        let errors = findings
            .iter()
            .filter(|finding| matches!(finding.severity, contract::Severity::Error));
        Self::invalid(to_text(errors))
    }

    /// Reports that a policy did not permit the plan.
    pub(crate) fn review(error: ReviewError) -> Self {
        if let ReviewError::Failed { title, failure } = &error {
            return Self::plugin(&PluginError::no_answer(title, failure));
        }
        let reason = match &error {
            ReviewError::Refused { .. } => Reason::PolicyRefused,
            ReviewError::Undecided { .. } => Reason::PolicyUndecided,
            ReviewError::Overreached { .. } | ReviewError::Failed { .. } => Reason::RuleBroken,
        };
        Self::new(reason, error.to_string())
    }

    /// Reports the remarks of policies in monitor mode. `None` if there are none.
    pub(crate) fn violations(remarks: &[Remark]) -> Option<Self> {
        let messages: Vec<_> = remarks.iter().map(|remark| remark.message.as_str()).collect();
        (!messages.is_empty()).then(|| Self::new(Reason::Monitored, messages.join("; ")))
    }

    /// Returns the violations that policies in monitor mode reported about an earlier plan: they still apply to the objects
    /// of that plan.
    pub(crate) fn previous_violations(parent: &Object) -> Option<Self> {
        let value = parent.without_spec();
        let mut conditions = value["status"]["conditions"].as_array()?.iter();
        let type_ = Reason::Monitored.condition().as_str();
        let reported = conditions.find(|condition| condition["type"] == type_)?;
        let message = reported["message"].as_str()?;
        Some(Self::new(Reason::Monitored, message.to_owned()))
    }

    /// Reports the most important error of the API server, and the number of the others. `None` for transient errors,
    /// and if the namespace is being deleted.
    pub(crate) fn writing(errors: &[WriteError], failures: u32) -> Option<Self> {
        let rank = |error: &&WriteError| match error.class {
            ErrorClass::Invalid => 0,
            class if class.is_for_people() => 1,
            _ => 2,
        };
        if errors
            .iter()
            .any(|error| error.class == ErrorClass::NamespaceTerminating)
        {
            return None;
        }
        let lasting = |error: &&WriteError| error.class.is_for_people() || failures >= MIN_FAILURES;
        let first = errors.iter().filter(lasting).min_by_key(rank)?;
        let others = match errors.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        Some(Self {
            reason: Reason::Write(first.class),
            message: format!("{first}{others}"),
            is_fatal: first.class == ErrorClass::Invalid,
            retry: first.retry(),
        })
    }

    /// Returns the condition that reports the problem.
    pub(crate) fn condition(&self) -> HostCondition {
        self.reason.condition()
    }

    /// Returns the condition for the status.
    pub(crate) fn as_condition(&self) -> DesiredCondition {
        DesiredCondition {
            type_: self.condition().as_str().into(),
            status: ConditionStatus::True,
            reason: self.reason.as_str().into(),
            message: text::line(&self.message, MAX_MESSAGE),
        }
    }

    /// Returns the event for a new problem. Its reason is the type of the condition; that of a failed write also has the
    /// condition's reason.
    pub(crate) fn as_event(&self) -> Event {
        let condition = self.condition().as_str();
        let reason = match self.reason {
            Reason::Write(class) => format!("{condition}{}", class.as_str()),
            _ => condition.to_owned(),
        };
        Event {
            type_: EventType::Warning,
            reason,
            message: self.message.clone(),
        }
    }

    /// Returns whether the status in the object `value` contains the problem already.
    pub(crate) fn is_in_status(&self, value: &Value) -> bool {
        let own = self.as_condition();
        value["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|condition| {
                condition["type"] == own.type_.as_str()
                    && condition["reason"] == own.reason.as_str()
                    && condition["message"] == own.message.as_str()
            })
    }
}
