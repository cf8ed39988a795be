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

/// Reason of a problem. Each one belongs to one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The component can't be used, or its call failed, for this reason.
    Plugin(PluginErrorReason),
    /// The children of a kind can't be listed.
    Unlisted,
    /// The plan, or a policy's change of it, breaks a rule of the gate.
    RuleBroken,
    /// A policy forbids the plan.
    PolicyRefused,
    /// A policy could not decide about the plan.
    PolicyUndecided,
    /// The API server did not carry out a write, for this reason.
    Write(ErrorClass),
    /// The resource is invalid.
    Invalid,
    /// A policy in monitor mode would not have permitted the plan.
    Monitored,
}

impl Reason {
    /// Returns the reason in a status.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plugin(reason) => reason.as_str(),
            Self::Unlisted => "Unlisted",
            Self::RuleBroken => "RuleBroken",
            Self::PolicyRefused => "PolicyRefused",
            Self::PolicyUndecided => "PolicyUndecided",
            Self::Write(class) => class.as_str(),
            Self::Invalid => "Invalid",
            Self::Monitored => "Monitored",
        }
    }

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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const CONDITIONS: &str = include_str!("../../../../docs/clusters.md");
    const REASONS_OF_PLUGINS: &str = include_str!("../../../../docs/plugins.md");

    /// All reasons that do not come from a component or from the API server.
    const OWN: [Reason; 6] = [
        Reason::Unlisted,
        Reason::RuleBroken,
        Reason::PolicyRefused,
        Reason::PolicyUndecided,
        Reason::Invalid,
        Reason::Monitored,
    ];

    /// Returns whether [`OWN`] must contain the reason. A new variant has to be added here.
    fn is_own(reason: Reason) -> bool {
        match reason {
            Reason::Plugin(_) | Reason::Write(_) => false,
            Reason::Unlisted
            | Reason::RuleBroken
            | Reason::PolicyRefused
            | Reason::PolicyUndecided
            | Reason::Invalid
            | Reason::Monitored => true,
        }
    }

    /// Returns the words in backticks.
    fn words(cell: &str) -> BTreeSet<&str> {
        cell.split('`').skip(1).step_by(2).collect()
    }

    /// Returns the cells of the rows of the table with this heading.
    fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
        let (_, table) = page.split_once(heading).expect("the table");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.split('|').skip(1).collect()).collect()
    }

    #[test]
    fn all_conditions_and_reasons_are_documented() {
        assert!(OWN.into_iter().all(is_own));
        let mut expected: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for reason in OWN {
            let reasons = expected.entry(reason.condition().as_str()).or_default();
            reasons.insert(reason.as_str());
        }
        // A namespace that is being deleted is not reported.
        let causes = ErrorClass::ALL
            .into_iter()
            .filter(|class| *class != ErrorClass::NamespaceTerminating);
        expected.insert(
            HostCondition::ApplyFailed.as_str(),
            causes.map(ErrorClass::as_str).collect(),
        );
        // The reasons of components have a table of their own, which the tests of `PluginErrorReason` check.
        expected.insert(HostCondition::PluginFailed.as_str(), BTreeSet::new());
        let of_plans = rows(REASONS_OF_PLUGINS, "| reason of `PlanRefused` | meaning |");
        let of_plans: BTreeSet<_> = of_plans.iter().flat_map(|row| words(row[0])).collect();
        assert_eq!(expected.get(HostCondition::PlanRefused.as_str()), Some(&of_plans));

        let mut documented: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for row in rows(CONDITIONS, "| condition | reason | meaning |") {
            let condition = words(row[0]).into_iter().next().expect("a condition");
            documented.entry(condition).or_default().extend(words(row[1]));
        }
        assert_eq!(documented, expected);
        assert_eq!(documented.len(), HostCondition::ALL.len());
    }
}
