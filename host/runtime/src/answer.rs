//! What of an answer is for people: so many texts, and so long, as people can read.
//!
//! All of them pass here, so that who writes them to a log, a status or a terminal need not look at them again.

use dask_operator_core::text::make_line;

use crate::Failure;
use crate::contract::{AdmissionResponse, Error, Finding, ResourceKind, Review, Severity, Verdict};

/// Findings, or warnings, of one answer that are kept.
const SAID: usize = 1000;

/// Bytes of a finding's field.
const FIELD: usize = 1024;

/// Bytes of a sentence.
const SENTENCE: usize = 4096;

/// Kinds of children that a component may declare.
const KINDS: usize = 100;

/// Cleans and cuts a sentence.
pub(crate) fn sentence(mut text: String) -> String {
    make_line(&mut text, SENTENCE);
    text
}

/// Cleans and cuts findings. Of too many the gravest are kept, and a last one says how many there are beside.
pub(crate) fn findings(mut findings: Vec<Finding>) -> Vec<Finding> {
    if let Some(more) = findings.len().checked_sub(SAID).filter(|more| *more > 0) {
        findings.sort_by_key(|finding| rank(finding.severity));
        let severity = findings[SAID].severity;
        findings.truncate(SAID);
        findings.push(Finding {
            severity,
            field: String::new(),
            message: format!("and {more} more"),
        });
    }
    for finding in &mut findings {
        make_line(&mut finding.field, FIELD);
        make_line(&mut finding.message, SENTENCE);
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

/// The same for why there is no answer.
pub(crate) fn error(error: Error) -> Error {
    match error {
        Error::Invalid(given) => Error::Invalid(findings(given)),
        Error::Failed(text) => Error::Failed(sentence(text)),
    }
}

/// The same for what a policy says of a request.
pub(crate) fn response(mut response: AdmissionResponse) -> AdmissionResponse {
    if let Some(more) = response.warnings.len().checked_sub(SAID).filter(|more| *more > 0) {
        response.warnings.truncate(SAID);
        response.warnings.push(format!("and {more} more"));
    }
    for warning in &mut response.warnings {
        make_line(warning, SENTENCE);
    }
    response.verdict = match response.verdict {
        Verdict::Refuse(given) => Verdict::Refuse(findings(given)),
        other => other,
    };
    response
}

/// The same for what a policy says of a plan.
pub(crate) fn review(review: Review) -> Review {
    match review {
        Review::Refuse(given) => Review::Refuse(findings(given)),
        other => other,
    }
}

/// Nobody has children of very many kinds; each is asked for with each plan.
pub(crate) fn kinds(kinds: &[ResourceKind]) -> Result<(), Failure> {
    if kinds.len() <= KINDS {
        return Ok(());
    }
    Err(Failure::TooLarge {
        field: "child-kinds".to_owned(),
        problem: format!("has {}; at most {KINDS} are allowed", kinds.len()),
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
    fn of_too_many_findings_the_gravest_are_kept() {
        let mut given = vec![finding(Severity::Warning, "w"); 600];
        given.extend(std::iter::repeat_n(finding(Severity::Error, "e"), 600));
        let kept = findings(given);
        assert_eq!(kept.len(), SAID + 1);
        let errors = kept.iter().filter(|finding| finding.severity == Severity::Error);
        assert_eq!(errors.count(), 600);
        let last = kept.last().expect("the last");
        assert_eq!(
            (last.severity, last.message.as_str()),
            (Severity::Warning, "and 200 more")
        );
        // An error that nobody is told of is one all the same.
        let errors = findings(vec![finding(Severity::Error, "e"); SAID + 1]);
        assert_eq!(errors.last().expect("the last").severity, Severity::Error);
    }

    #[test]
    fn few_findings_stay_in_their_order() {
        let given = vec![finding(Severity::Warning, "w"), finding(Severity::Error, "e")];
        let messages: Vec<_> = findings(given)
            .into_iter()
            .map(|finding| finding.message)
            .collect();
        assert_eq!(messages, ["w", "e"]);
    }

    #[test]
    fn texts_are_cleaned_and_cut() {
        let found = findings(vec![finding(Severity::Error, "x\n".repeat(SENTENCE))]);
        assert_eq!(found[0].field, "spec.a .b");
        assert!(found[0].message.starts_with("x x ") && found[0].message.len() <= SENTENCE);
        let failed = error(Error::Failed("a\rb".to_owned()));
        assert_eq!(failed, Error::Failed("a b".to_owned()));
        let response = response(AdmissionResponse {
            verdict: Verdict::Allow,
            warnings: vec!["\x1b[2J".to_owned(); SAID + 2],
        });
        assert_eq!(response.warnings.len(), SAID + 1);
        assert_eq!(response.warnings[0], " [2J");
        assert_eq!(response.warnings[SAID], "and 2 more");
    }

    #[test]
    fn kinds_are_few() {
        let kind = ResourceKind {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
        };
        let many = vec![kind; KINDS + 1];
        assert!(kinds(&many).is_err());
        assert!(kinds(&many[1..]).is_ok());
    }
}
