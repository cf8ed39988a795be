//! Limits on the human-readable texts of an answer: their number and their length.
//!
//! The functions are pure. Every such text passes through this module, so code that writes it to a log, a status or a
//! terminal does not need to sanitise it again.

use dask_operator_core::text::make_line;

use crate::Failure;
use crate::contract::{AdmissionResponse, Error, Finding, ResourceKind, Review, Severity, Verdict};

/// Maximum number of findings, or of warnings, of one answer.
const MAX_FINDINGS: usize = 1000;

/// Maximum length of a finding's field, in bytes.
const MAX_FIELD_BYTES: usize = 1024;

/// Maximum length of a message, in bytes.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Maximum number of child kinds that a component may declare.
const MAX_KINDS: usize = 100;

/// Replaces the control characters of a message with spaces and truncates it.
pub(crate) fn message(mut text: String) -> String {
    make_line(&mut text, MAX_MESSAGE_BYTES);
    text
}

/// Replaces the control characters of findings with spaces and truncates the texts. If there are more than
/// [`MAX_FINDINGS`], the most severe ones remain and an additional last finding contains the number of omitted ones.
pub(crate) fn findings(mut findings: Vec<Finding>) -> Vec<Finding> {
    if let Some(more) = findings.len().checked_sub(MAX_FINDINGS).filter(|more| *more > 0) {
        findings.sort_by_key(|finding| rank(finding.severity));
        let severity = findings[MAX_FINDINGS].severity;
        findings.truncate(MAX_FINDINGS);
        findings.push(Finding {
            severity,
            field: String::new(),
            message: format!("and {more} more"),
        });
    }
    for finding in &mut findings {
        make_line(&mut finding.field, MAX_FIELD_BYTES);
        make_line(&mut finding.message, MAX_MESSAGE_BYTES);
    }
    findings
}

fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Error => 0,
        Severity::Mistake => 1,
        Severity::Warning => 2,
    }
}

/// Applies the limits to the findings or the message of an error answer.
pub(crate) fn error(error: Error) -> Error {
    match error {
        Error::Invalid(given) => Error::Invalid(findings(given)),
        Error::Failed(text) => Error::Failed(message(text)),
    }
}

/// Applies the limits to the warnings and findings of a policy's admission response.
pub(crate) fn response(mut response: AdmissionResponse) -> AdmissionResponse {
    if let Some(more) = response
        .warnings
        .len()
        .checked_sub(MAX_FINDINGS)
        .filter(|more| *more > 0)
    {
        response.warnings.truncate(MAX_FINDINGS);
        response.warnings.push(format!("and {more} more"));
    }
    for warning in &mut response.warnings {
        make_line(warning, MAX_MESSAGE_BYTES);
    }
    response.verdict = match response.verdict {
        Verdict::Refuse(given) => Verdict::Refuse(findings(given)),
        other => other,
    };
    response
}

/// Applies the limits to the findings of a policy's review of a plan.
pub(crate) fn review(review: Review) -> Review {
    match review {
        Review::Refuse(given) => Review::Refuse(findings(given)),
        other => other,
    }
}

/// Returns an error if a component declares more than [`MAX_KINDS`] child kinds: each of them is looked up for each plan.
pub(crate) fn check_kinds(kinds: &[ResourceKind]) -> Result<(), Failure> {
    if kinds.len() <= MAX_KINDS {
        return Ok(());
    }
    Err(Failure::TooLarge {
        field: "child-kinds".to_owned(),
        problem: format!("has {}; at most {MAX_KINDS} are allowed", kinds.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, message: impl Into<String>) -> Finding {
        Finding {
            severity,
            field: "spec.a\n.b".to_owned(),
            message: message.into(),
        }
    }

    #[test]
    fn keeps_the_most_severe_of_too_many_findings() {
        let mut given = vec![finding(Severity::Warning, "w"); 600];
        given.extend(std::iter::repeat_n(finding(Severity::Error, "e"), 600));
        let kept = findings(given);
        assert_eq!(kept.len(), MAX_FINDINGS + 1);
        let errors = kept.iter().filter(|finding| finding.severity == Severity::Error);
        assert_eq!(errors.count(), 600);
        let last = kept.last().expect("a last finding");
        assert_eq!(
            (last.severity, last.message.as_str()),
            (Severity::Warning, "and 200 more")
        );
        // The last finding has the severity of the omitted findings.
        let errors = findings(vec![finding(Severity::Error, "e"); MAX_FINDINGS + 1]);
        assert_eq!(errors.last().expect("a last finding").severity, Severity::Error);
    }

    #[test]
    fn keeps_the_order_of_few_findings() {
        let given = vec![finding(Severity::Warning, "w"), finding(Severity::Error, "e")];
        let messages: Vec<_> = findings(given)
            .into_iter()
            .map(|finding| finding.message)
            .collect();
        assert_eq!(messages, ["w", "e"]);
    }

    #[test]
    fn replaces_control_characters_and_truncates() {
        let found = findings(vec![finding(Severity::Error, "x\n".repeat(MAX_MESSAGE_BYTES))]);
        assert_eq!(found[0].field, "spec.a .b");
        assert!(found[0].message.starts_with("x x ") && found[0].message.len() <= MAX_MESSAGE_BYTES);
        let failed = error(Error::Failed("a\rb".to_owned()));
        assert_eq!(failed, Error::Failed("a b".to_owned()));
        let response = response(AdmissionResponse {
            verdict: Verdict::Allow,
            warnings: vec!["\x1b[2J".to_owned(); MAX_FINDINGS + 2],
        });
        assert_eq!(response.warnings.len(), MAX_FINDINGS + 1);
        assert_eq!(response.warnings[0], " [2J");
        assert_eq!(response.warnings[MAX_FINDINGS], "and 2 more");
    }

    #[test]
    fn rejects_too_many_kinds() {
        let kind = ResourceKind {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
        };
        let many = vec![kind; MAX_KINDS + 1];
        assert!(check_kinds(&many).is_err());
        assert!(check_kinds(&many[1..]).is_ok());
    }
}
