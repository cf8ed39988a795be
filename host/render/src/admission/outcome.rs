//! What the answers come to.

use std::fmt;

use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::Value;

/// What somebody said of an object.
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
        Self {
            policy: policy.to_owned(),
            field: field.to_owned(),
            message: message.into(),
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
    /// What its author should know.
    pub warnings: Vec<Said>,
    /// What policies that only monitor would have refused or changed.
    pub reports: Vec<Said>,
}

impl Outcome {
    /// Whether the request is let through.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.refusals.is_empty()
    }

    /// All reasons in one text; empty when there are none.
    #[must_use]
    pub fn refusal(&self) -> String {
        sentences(&self.refusals).join("; ")
    }

    /// Warnings and reports as the person who asked sees them, each once.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let reports = self.reports.iter();
        let reports = reports.map(|said| format!("only monitored: {said}"));
        let mut notices: Vec<String> = Vec::new();
        for notice in sentences(&self.warnings).into_iter().chain(reports) {
            if !notices.contains(&notice) {
                notices.push(notice);
            }
        }
        notices
    }

    pub(super) fn refuse(&mut self, said: Said) {
        self.refusals.push(said);
    }

    pub(super) fn warn(&mut self, said: Said) {
        self.warnings.push(said);
    }

    pub(super) fn report(&mut self, said: Said) {
        self.reports.push(said);
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
        self.refusals.extend(later.refusals);
        self.warnings.extend(later.warnings);
        self.reports.extend(later.reports);
        self
    }
}

fn sentences(said: &[Said]) -> Vec<String> {
    said.iter().map(ToString::to_string).collect()
}
