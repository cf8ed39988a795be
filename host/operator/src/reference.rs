//! Conditions that the operator itself writes, for `docs/reference/conditions.md`. Those of plans come from the components.

use dask_operator_core::api_error::ErrorClass;
use dask_operator_core::conditions::HostCondition;
use dask_operator_sources::SourceReason;

use crate::plugins::ReadyReason;
use crate::reconcile::Reason;

/// A type of condition, and its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConditionType {
    /// Type of the condition.
    pub name: &'static str,
    /// Description for users.
    pub description: &'static str,
    /// Reasons of the condition, each with a description for users.
    pub reasons: Vec<(&'static str, &'static str)>,
}

/// Returns the conditions that the operator writes to Dask resources while there is a problem.
#[must_use]
pub fn of_dask_resources() -> Vec<HostConditionType> {
    let reasons = |condition| {
        let reasons = Reason::all().into_iter();
        let reasons = reasons.filter(|reason| reason.condition() == condition && is_reported(*reason));
        reasons
            .map(|reason| (reason.as_str(), reason.description()))
            .collect()
    };
    let conditions = HostCondition::all().into_iter();
    conditions
        .map(|condition| HostConditionType {
            name: condition.as_str(),
            description: condition.description(),
            reasons: reasons(condition),
        })
        .collect()
}

/// Returns whether a condition can have the reason. A namespace that is being deleted is not reported.
fn is_reported(reason: Reason) -> bool {
    reason != Reason::Write(ErrorClass::NamespaceTerminating)
}

/// Returns the condition of plugin resources.
#[must_use]
pub fn of_plugin_resources() -> HostConditionType {
    // Without its certificate file, the operator does not start, so that no condition has this reason.
    let occurs =
        |reason: &ReadyReason| *reason != ReadyReason::Failed(SourceReason::CertificateFileUnreadable.into());
    let reasons = ReadyReason::all().into_iter().filter(occurs);
    HostConditionType {
        name: ReadyReason::CONDITION,
        description: "The plugin is active, as its `spec` requests it.",
        reasons: reasons
            .map(|reason| (reason.as_str(), reason.description()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn conditions_have_reasons_of_different_words() {
        for condition in of_dask_resources().into_iter().chain([of_plugin_resources()]) {
            let words: BTreeSet<_> = condition.reasons.iter().map(|(word, _)| word).collect();
            assert!(!words.is_empty(), "{} has no reasons", condition.name);
            assert_eq!(words.len(), condition.reasons.len(), "{}", condition.name);
        }
    }

    #[test]
    fn reasons_are_listed_for_their_condition() {
        let conditions = of_dask_resources();
        let words = |name: &str| -> Vec<_> {
            let condition = conditions.iter().find(|condition| condition.name == name);
            let reasons = condition.map(|condition| condition.reasons.as_slice());
            reasons
                .unwrap_or_default()
                .iter()
                .map(|(word, _)| *word)
                .collect()
        };
        assert_eq!(
            words("PlanRefused"),
            ["RuleBroken", "PolicyRefused", "PolicyUndecided"]
        );
        assert_eq!(words("KindNotListed"), ["Unlisted"]);
        assert_eq!(words("SpecInvalid"), ["Invalid"]);
        assert_eq!(words("PolicyViolated"), ["Monitored"]);
        assert!(words("PluginFailed").contains(&"PluginTrapped"));
        assert!(words("ApplyFailed").contains(&"QuotaExceeded"));
        assert!(!words("ApplyFailed").contains(&"NamespaceTerminating"));
    }
}
