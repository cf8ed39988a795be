//! Problems with a resource or with the execution of its plan, as conditions and events. Pure.

use dask_operator_core::category::{Cause, Retry};
use dask_operator_core::conditions::{
    APPLY_FAILED, KIND_NOT_LISTED, PLAN_REFUSED, PLUGIN_FAILED, POLICY_VIOLATED, SPEC_INVALID,
};
use dask_operator_core::plan::{Condition, ConditionStatus, Event, EventType, ResourceKind};
use dask_operator_core::text;
use dask_operator_evaluator::findings::sentences;
use dask_operator_evaluator::plan::PlanError;
use dask_operator_evaluator::review::{Remark, ReviewError};
use dask_operator_runtime::contract;
use serde_json::Value;

use crate::client::error::WriteError;
use crate::client::object::Object;
use crate::plugins::PluginError;

/// Limit of a condition's message, in bytes.
const MAX_MESSAGE: usize = 2048;

/// Number of failures in a row after which a condition reports a transient problem.
const MIN_FAILURES: u32 = 5;

/// A problem, as a condition and, if it is new, an event.
pub(crate) struct Problem {
    pub(crate) condition: &'static str,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// True if `phase` becomes `Error`.
    pub(crate) is_fatal: bool,
    pub(crate) retry: Retry,
}

impl Problem {
    /// Reports that there is no plan.
    pub(crate) fn plan(error: PlanError) -> Self {
        match error {
            PlanError::Call { title, failure } => Self::plugin(&PluginError::no_answer(&title, &failure)),
            PlanError::Invalid(findings) => Self::findings(&findings),
            PlanError::GaveUp { title, message } => Self::plugin(&PluginError {
                title,
                reason: "PluginGaveUp",
                message,
            }),
            PlanError::Review(error) => Self::review(error),
            error @ (PlanError::TooLarge { .. } | PlanError::Refused { .. }) => Self {
                condition: PLAN_REFUSED,
                reason: "RuleBroken".into(),
                message: error.to_string(),
                is_fatal: false,
                retry: Retry::BackOff,
            },
        }
    }

    /// Reports that the component can't be called, or that the call failed.
    pub(crate) fn plugin(error: &PluginError) -> Self {
        Self {
            condition: PLUGIN_FAILED,
            reason: error.reason.into(),
            message: error.to_string(),
            is_fatal: false,
            retry: error.retry(),
        }
    }

    /// Reports that the children of this kind can't be listed for the component `title`.
    pub(crate) fn not_listed(title: &str, kind: &ResourceKind, why: &str) -> Self {
        Self {
            condition: KIND_NOT_LISTED,
            reason: "Unlisted".into(),
            message: format!(
                "{title} has to know which {} objects there are, and nothing is changed until it does: {why}",
                kind.kind
            ),
            is_fatal: false,
            retry: Retry::BackOff,
        }
    }

    /// Reports that the component `title` would receive objects with more than `most` bytes of JSON.
    pub(crate) fn too_large(title: &str, most: usize) -> Self {
        Self {
            condition: PLUGIN_FAILED,
            reason: "ObservationTooLarge".into(),
            message: format!(
                "{title} is not asked, and nothing is changed: the objects that it has to know, as the API server has them, take \
                 more than {} MiB together: divide the workers among several worker groups, or take large annotations off their pods",
                most >> 20
            ),
            is_fatal: false,
            retry: Retry::BackOff,
        }
    }

    /// Reports an invalid resource.
    pub(crate) fn invalid(message: String) -> Self {
        Self {
            condition: SPEC_INVALID,
            reason: "Invalid".into(),
            message,
            is_fatal: true,
            retry: Retry::OnChange,
        }
    }

    /// Reports the errors that the component found in the resource.
    pub(crate) fn findings(findings: &[contract::Finding]) -> Self {
        let errors = findings
            .iter()
            .filter(|finding| matches!(finding.severity, contract::Severity::Error));
        Self::invalid(sentences(errors))
    }

    /// Reports that a policy did not permit the plan.
    pub(crate) fn review(error: ReviewError) -> Self {
        if let ReviewError::Failed { title, failure } = &error {
            return Self::plugin(&PluginError::no_answer(title, failure));
        }
        let reason = match &error {
            ReviewError::Refused { .. } => "PolicyRefused",
            ReviewError::Undecided { .. } => "PolicyUndecided",
            ReviewError::Overreached { .. } | ReviewError::Failed { .. } => "RuleBroken",
        };
        Self {
            condition: PLAN_REFUSED,
            reason: reason.into(),
            message: error.to_string(),
            is_fatal: false,
            retry: Retry::BackOff,
        }
    }

    /// Reports the remarks of policies in monitor mode. `None` if there are none.
    pub(crate) fn violations(remarks: &[Remark]) -> Option<Self> {
        let said: Vec<_> = remarks.iter().map(|remark| remark.message.as_str()).collect();
        (!said.is_empty()).then(|| Self {
            condition: POLICY_VIOLATED,
            reason: "Monitored".into(),
            message: said.join("; "),
            is_fatal: false,
            retry: Retry::BackOff,
        })
    }

    /// Returns the violations that policies in monitor mode reported about an earlier plan: they still apply to the objects
    /// of that plan.
    pub(crate) fn previous_violations(parent: &Object) -> Option<Self> {
        let value = parent.without_spec();
        let conditions = value["status"]["conditions"].as_array()?;
        let reported = conditions
            .iter()
            .find(|condition| condition["type"] == POLICY_VIOLATED)?;
        Some(Self {
            condition: POLICY_VIOLATED,
            reason: reported["reason"].as_str()?.to_owned(),
            message: reported["message"].as_str()?.to_owned(),
            is_fatal: false,
            retry: Retry::BackOff,
        })
    }

    /// Reports the most important error of the API server, and the number of the others. `None` for transient errors,
    /// and if the namespace is being deleted.
    pub(crate) fn writing(errors: &[WriteError], failures: u32) -> Option<Self> {
        let rank = |error: &&WriteError| match error.cause {
            Cause::Invalid => 0,
            cause if cause.is_for_people() => 1,
            _ => 2,
        };
        if errors
            .iter()
            .any(|error| error.cause == Cause::NamespaceTerminating)
        {
            return None;
        }
        let lasting = |error: &&WriteError| error.cause.is_for_people() || failures >= MIN_FAILURES;
        let first = errors.iter().filter(lasting).min_by_key(rank)?;
        let others = match errors.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        Some(Self {
            condition: APPLY_FAILED,
            reason: first.cause.as_str().into(),
            message: format!("{first}{others}"),
            is_fatal: first.cause == Cause::Invalid,
            retry: first.retry(),
        })
    }

    /// Returns the condition for the status.
    pub(crate) fn as_condition(&self) -> Condition {
        Condition {
            type_: self.condition.into(),
            status: ConditionStatus::True,
            reason: self.reason.clone(),
            message: text::line(&self.message, MAX_MESSAGE),
        }
    }

    /// Returns the event for a new problem.
    pub(crate) fn as_event(&self) -> Event {
        let reason = format!(
            "{}{}",
            self.condition,
            if self.condition == APPLY_FAILED {
                &self.reason
            } else {
                ""
            }
        );
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
