//! Conditions that only the host writes, and the syntax of types and reasons of conditions.

use std::sync::LazyLock;

use crate::labels;

crate::reasons! {
    /// A condition that only the host writes, and that no plan may contain. It is present while there is a problem, and removed
    /// afterwards.
    #[derive(PartialOrd, Ord)]
    pub enum HostCondition {
        /// A component failed, or can't be used.
        PluginFailed => "PluginFailed",
        /// The operator can't list a kind of child objects that the component declares.
        KindNotListed => "KindNotListed",
        /// The plan breaks a rule, or a policy does not permit it.
        PlanRefused => "PlanRefused",
        /// The API server refuses child objects.
        ApplyFailed => "ApplyFailed",
        /// The resource is invalid until a user changes it.
        SpecInvalid => "SpecInvalid",
        /// A policy that only monitors would have forbidden or changed the plan.
        PolicyViolated => "PolicyViolated",
    }
}

/// Types of all conditions of the host.
pub static OF_HOST: LazyLock<Vec<&str>> = LazyLock::new(|| {
    HostCondition::all()
        .into_iter()
        .map(HostCondition::as_str)
        .collect()
});

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
        let expected = HostCondition::all().into_iter().map(HostCondition::as_str);
        assert_eq!(*OF_HOST, expected.collect::<Vec<_>>());
        assert_eq!(OF_HOST.len(), 6);
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
