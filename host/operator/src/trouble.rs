//! What is wrong with a resource, or with what became of it, in words for its
//! status and its events.

use dask_operator_core::category::{Cause, Retry};
use dask_operator_core::plan::{Condition, ConditionStatus, Event, EventType, ResourceKind};
use dask_operator_core::text;
use dask_operator_render::findings::sentences;
use dask_operator_render::review::{Remark, ReviewError};
use dask_operator_runtime::contract;
use serde_json::Value;

use crate::errors::WriteError;
use crate::plugins::PluginError;

/// The component trapped, ran out of a limit or failed otherwise.
pub const PLUGIN_FAILED: &str = "PluginFailed";
/// The component's plan broke a rule.
pub const PLAN_REFUSED: &str = "PlanRefused";
/// The API server did not take what was planned.
pub const APPLY_FAILED: &str = "ApplyFailed";
/// The resource can't be worked with until somebody changes it.
pub const SPEC_INVALID: &str = "SpecInvalid";

/// A policy that only monitors would not have let the plan through as it is.
pub const POLICY_VIOLATED: &str = "PolicyViolated";

/// Children of a kind that the component declares can't be listed.
pub const KIND_NOT_LISTED: &str = "KindNotListed";

/// Types of conditions that the host writes. They are there while something is
/// wrong, and gone when nothing is.
pub const HOST_CONDITIONS: [&str; 6] = [
    PLUGIN_FAILED,
    KIND_NOT_LISTED,
    PLAN_REFUSED,
    APPLY_FAILED,
    SPEC_INVALID,
    POLICY_VIOLATED,
];

/// Bytes of a condition's message.
const MESSAGE: usize = 2048;

/// How many failures in a row a passing trouble may have before a condition
/// tells of it.
const PATIENCE: u32 = 5;

/// What is wrong, as a condition and (when it is new) an event.
pub(crate) struct Trouble {
    pub(crate) condition: &'static str,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// `phase` becomes `Error`.
    pub(crate) is_fatal: bool,
    pub(crate) retry: Retry,
}

impl Trouble {
    /// The component gave no plan.
    pub(crate) fn plugin(error: &PluginError) -> Self {
        Self {
            condition: PLUGIN_FAILED,
            reason: error.reason.into(),
            message: error.to_string(),
            is_fatal: false,
            retry: error.retry(),
        }
    }

    /// The component `title` can't be told which children of this kind there are.
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

    /// The component `title` would be told of objects with more than `most` bytes of JSON.
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

    /// The resource itself is wrong.
    pub(crate) fn invalid(message: String) -> Self {
        Self {
            condition: SPEC_INVALID,
            reason: "Invalid".into(),
            message,
            is_fatal: true,
            retry: Retry::OnChange,
        }
    }

    /// The component found the resource wrong.
    pub(crate) fn findings(findings: &[contract::Finding]) -> Self {
        let errors = findings
            .iter()
            .filter(|finding| matches!(finding.severity, contract::Severity::Error));
        Self::invalid(sentences(errors))
    }

    /// A policy let nothing of the plan be written.
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

    /// Policies that only monitor have something to say.
    pub(crate) fn remarks(remarks: &[Remark]) -> Option<Self> {
        let said: Vec<_> = remarks.iter().map(|remark| remark.message.as_str()).collect();
        (!said.is_empty()).then(|| Self {
            condition: POLICY_VIOLATED,
            reason: "Monitored".into(),
            message: said.join("; "),
            is_fatal: false,
            retry: Retry::BackOff,
        })
    }

    /// What a condition shall say about errors of the API server: about the one
    /// that matters most, and how many there are besides. Nothing about what
    /// passes by itself, or goes with the namespace.
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
        let lasting = |error: &&WriteError| error.cause.is_for_people() || failures >= PATIENCE;
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

    /// As it stands in a status.
    pub(crate) fn as_condition(&self) -> Condition {
        Condition {
            type_: self.condition.into(),
            status: ConditionStatus::True,
            reason: self.reason.clone(),
            message: text::line(&self.message, MESSAGE),
        }
    }

    /// As people are told when it is new.
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

    /// Whether the status of the whole object `value` tells of it already.
    pub(crate) fn stands_in(&self, value: &Value) -> bool {
        let told = self.as_condition();
        value["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|condition| {
                condition["type"] == told.type_.as_str()
                    && condition["reason"] == told.reason.as_str()
                    && condition["message"] == told.message.as_str()
            })
    }
}
