//! What the answers come to.

use std::collections::HashSet;
use std::fmt;

use dask_operator_core::text;
use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::Value;

/// How many refusals, warnings and reports of a request are kept. Nobody reads more.
const SAID: usize = 100;

/// Bytes of a field.
const FIELD: usize = 1024;

/// Bytes of a sentence.
const SENTENCE: usize = 4096;

/// What somebody said of an object: one line, however it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The policy that said it; empty for the logic of the kind.
    pub policy: String,
    /// The field, as `spec.worker.replicas`; empty for the whole object.
    pub field: String,
    /// A sentence: what is wrong and what to write instead.
    pub message: String,
}

impl Said {
    /// `message` about `field`, by a policy (or the kind's logic, where `policy` is empty).
    #[must_use]
    pub fn new(policy: &str, field: &str, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        text::make_line(&mut message, SENTENCE);
        Self {
            policy: policy.to_owned(),
            field: text::line(field, FIELD),
            message,
        }
    }
}

/// `policy NAME: FIELD: MESSAGE`
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.policy.is_empty() {
            write!(f, "policy {}: ", self.policy)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The object that shall be stored instead of the one that was sent; none where that one stays as it is.
    pub changed: Option<Value>,
    /// Why it is refused; empty when it is not.
    pub refusals: Vec<Said>,
    /// How many of these reasons are that somebody could not decide.
    pub undecided: usize,
    /// What its author should know.
    pub warnings: Vec<Said>,
    /// What policies that only monitor would have refused or changed.
    pub reports: Vec<Said>,
    /// How much more there was.
    pub left_out: LeftOut,
}

/// How many things were said that were not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Refusals.
    pub refusals: usize,
    /// Warnings and reports.
    pub notices: usize,
}

impl Outcome {
    /// Whether the request is let through.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Returns whether the request is refused only because somebody could not decide: the same one may pass later.
    #[must_use]
    pub fn may_pass_later(&self) -> bool {
        self.undecided > 0 && self.undecided >= self.refusals.len() + self.left_out.refusals
    }

    /// All reasons in one text; empty when there are none.
    #[must_use]
    pub fn refusal(&self) -> String {
        let mut sentences = sentences(&self.refusals);
        if self.left_out.refusals > 0 {
            sentences.push(format!("and {} more", self.left_out.refusals));
        }
        sentences.join("; ")
    }

    /// Warnings and reports as the person who asked sees them, each once.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let reports = self.reports.iter();
        let reports = reports.map(|said| format!("only monitored: {said}"));
        let mut said = HashSet::new();
        let mut notices: Vec<String> = sentences(&self.warnings)
            .into_iter()
            .chain(reports)
            .filter(|notice| said.insert(notice.clone()))
            .collect();
        if self.left_out.notices > 0 {
            notices.push(format!("and {} more warnings", self.left_out.notices));
        }
        notices
    }

    pub(super) fn refuse(&mut self, said: Said) {
        keep(&mut self.refusals, &mut self.left_out.refusals, said);
    }

    /// Somebody could not decide, and nothing is let through without that.
    pub(super) fn refuse_undecided(&mut self, said: Said) {
        self.undecided += 1;
        self.refuse(said);
    }

    pub(super) fn warn(&mut self, said: Said) {
        keep(&mut self.warnings, &mut self.left_out.notices, said);
    }

    pub(super) fn report(&mut self, said: Said) {
        keep(&mut self.reports, &mut self.left_out.notices, said);
    }

    /// There are so many refusals beside those that are named.
    pub(super) fn refuse_more(&mut self, more: usize) {
        self.left_out.refusals += more;
    }

    /// What the kind's logic found.
    pub(super) fn findings(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            let said = Said::new("", &finding.field, finding.message);
            match finding.severity {
                Severity::Error => self.refuse(said),
                Severity::Mistake | Severity::Warning => self.warn(said),
            }
        }
    }

    /// The errors among them.
    pub(super) fn errors(&mut self, mut findings: Vec<Finding>) {
        findings.retain(|finding| finding.severity == Severity::Error);
        self.findings(findings);
    }

    /// This, and what was said later, when nothing may be changed any more.
    pub(super) fn and(mut self, later: Self) -> Self {
        later.refusals.into_iter().for_each(|said| self.refuse(said));
        later.warnings.into_iter().for_each(|said| self.warn(said));
        later.reports.into_iter().for_each(|said| self.report(said));
        self.undecided += later.undecided;
        self.left_out.refusals += later.left_out.refusals;
        self.left_out.notices += later.left_out.notices;
        self
    }
}

fn keep(kept: &mut Vec<Said>, left_out: &mut usize, said: Said) {
    if kept.len() < SAID {
        kept.push(said);
    } else {
        *left_out += 1;
    }
}

fn sentences(said: &[Said]) -> Vec<String> {
    said.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, message: String) -> Finding {
        Finding {
            severity,
            field: String::new(),
            message,
        }
    }

    #[test]
    fn a_hundred_things_are_said_and_how_many_more() {
        let mut outcome = Outcome::default();
        let of = |severity| (0..150).map(move |i| finding(severity, i.to_string()));
        outcome.findings(of(Severity::Warning).chain(of(Severity::Error)).collect());
        assert_eq!((outcome.refusals.len(), outcome.warnings.len()), (100, 100));
        assert!(
            outcome.refusal().ends_with("; 99; and 50 more"),
            "{}",
            outcome.refusal()
        );
        let notices = outcome.notices();
        assert_eq!(notices.len(), 101);
        assert_eq!(notices[100], "and 50 more warnings");

        let both = outcome.clone().and(outcome);
        assert_eq!((both.refusals.len(), both.warnings.len()), (100, 100));
        assert!(both.refusal().ends_with("; and 200 more"), "{}", both.refusal());
        assert_eq!(both.left_out.notices, 200);
    }

    #[test]
    fn what_is_said_is_one_line() {
        let said = Said::new("p", "spec.a\nb", format!("one\ntwo{}", "x".repeat(SENTENCE)));
        let text = said.to_string();
        assert!(text.starts_with("policy p: spec.a b: one two"), "{text}");
        assert!(text.len() < SENTENCE + 100, "{}", text.len());
    }
}
