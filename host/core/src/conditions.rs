//! Conditions that only the host writes, and the syntax of types and reasons of conditions.

use crate::labels;

/// A condition that only the host writes, and that no plan may contain. It is present while there is a problem, and removed
/// afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostCondition {
    /// A component trapped, exceeded a limit or failed otherwise.
    PluginFailed,
    /// Children of a kind that the component declares can't be listed.
    KindNotListed,
    /// The component's plan violated a rule, or a policy did not permit it.
    PlanRefused,
    /// The API server refused what was planned.
    ApplyFailed,
    /// The resource is invalid until a user changes it.
    SpecInvalid,
    /// A policy in monitor mode would not have permitted the plan as it is.
    PolicyViolated,
}

impl HostCondition {
    /// All conditions.
    pub const ALL: [Self; 6] = [
        Self::PluginFailed,
        Self::KindNotListed,
        Self::PlanRefused,
        Self::ApplyFailed,
        Self::SpecInvalid,
        Self::PolicyViolated,
    ];

    /// Returns the type of the condition in a status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PluginFailed => "PluginFailed",
            Self::KindNotListed => "KindNotListed",
            Self::PlanRefused => "PlanRefused",
            Self::ApplyFailed => "ApplyFailed",
            Self::SpecInvalid => "SpecInvalid",
            Self::PolicyViolated => "PolicyViolated",
        }
    }
}

/// Types of all conditions of the host.
pub const OF_HOST: [&str; HostCondition::ALL.len()] = {
    let mut types = [""; HostCondition::ALL.len()];
    let mut index = 0;
    while index < types.len() {
        types[index] = HostCondition::ALL[index].as_str();
        index += 1;
    }
    types
};

/// Returns whether `text` is a valid condition type: a name of at most 63 characters, with an optional DNS prefix and slash.
#[must_use]
pub fn is_type(text: &str) -> bool {
    labels::is_key(text)
}

/// Returns whether `text` is a valid reason of a condition or an event: a word that starts with a letter, of at most 128
/// characters, the limit of events.
#[must_use]
pub fn is_reason(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b',' | b':');
    let starts = text.bytes().next().is_some_and(|c| c.is_ascii_alphabetic());
    let ends = text
        .bytes()
        .last()
        .is_some_and(|c| c.is_ascii_alphanumeric() || c == b'_');
    text.len() <= 128 && starts && ends && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn all_conditions_of_the_host_are_listed() {
        let expected = HostCondition::ALL.map(HostCondition::as_str);
        assert_eq!(OF_HOST, expected);
    }

    #[rstest]
    #[case("Ready", true)]
    #[case("dask.org/Ready", true)]
    #[case("not ready", false)]
    #[case("", false)]
    fn checks_types(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_type(text), expected);
    }

    #[rstest]
    #[case("WorkersMayHoldData", true)]
    #[case("1st", false)]
    #[case("two words", false)]
    #[case("", false)]
    fn checks_reasons(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_reason(text), expected);
    }
}
