//! Result of the admission decision.

use std::collections::HashSet;
use std::fmt;

use dask_operator_core::text;
use dask_operator_runtime::contract::{Finding, Severity};
use serde_json::Value;

/// Maximum number of refusals, of warnings and of reports that are stored for a request.
const MAX_ENTRIES: usize = 100;

/// Maximum size of a field path, in bytes.
const MAX_FIELD_BYTES: usize = 1024;

/// Maximum size of a message, in bytes.
const MAX_MESSAGE_BYTES: usize = 4096;

/// A finding about an object, by a plugin or by the host. The text is always a single line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionFinding {
    /// The policy that reported the finding; empty for the logic plugin of the kind and for the host.
    pub policy: String,
    /// The path of the field, such as `spec.worker.replicas`; empty for the whole object.
    pub field: String,
    /// The message: the problem and how to solve it.
    pub message: String,
}

impl AdmissionFinding {
    /// Creates a finding with `message` about `field`. `policy` is empty for the logic plugin of the kind. Long texts are
    /// shortened.
    #[must_use]
    pub fn new(policy: &str, field: &str, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        text::make_line(&mut message, MAX_MESSAGE_BYTES);
        Self {
            policy: policy.to_owned(),
            field: text::line(field, MAX_FIELD_BYTES),
            message,
        }
    }
}

/// Formats a finding as `policy NAME: FIELD: MESSAGE`.
impl fmt::Display for AdmissionFinding {
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

/// Result of an admission request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdmissionOutcome {
    /// The changed object, which replaces the one in the request; `None` if nothing changed.
    pub changed: Option<Value>,
    /// The reasons for the refusal; empty if the request is allowed.
    pub refusals: Vec<AdmissionFinding>,
    /// Number of refusals by plugins that could not decide.
    pub undecided: usize,
    /// Warnings for the author.
    pub warnings: Vec<AdmissionFinding>,
    /// Refusals and changes by policies in monitor mode, which have no effect.
    pub reports: Vec<AdmissionFinding>,
    /// Numbers of further entries that are not stored.
    pub left_out: LeftOut,
}

/// Numbers of entries that are not stored, because there are too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Number of refusals.
    pub refusals: usize,
    /// Number of warnings and reports.
    pub notices: usize,
}

impl AdmissionOutcome {
    /// Returns true if the request is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Returns true if the request is refused only because plugins could not decide. The same request may be allowed later.
    #[must_use]
    pub fn may_pass_later(&self) -> bool {
        self.undecided > 0 && self.undecided >= self.refusals.len() + self.left_out.refusals
    }

    /// Returns all reasons for the refusal in one text; empty if there are none.
    #[must_use]
    pub fn refusal(&self) -> String {
        let mut reasons = texts(&self.refusals);
        if self.left_out.refusals > 0 {
            reasons.push(format!("and {} more", self.left_out.refusals));
        }
        reasons.join("; ")
    }

    /// Returns the warnings and reports for the user who sent the request, without duplicates.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let reports = self.reports.iter();
        let reports = reports.map(|entry| format!("only monitored: {entry}"));
        let mut seen = HashSet::new();
        let mut notices: Vec<String> = texts(&self.warnings)
            .into_iter()
            .chain(reports)
            .filter(|notice| seen.insert(notice.clone()))
            .collect();
        if self.left_out.notices > 0 {
            notices.push(format!("and {} more warnings", self.left_out.notices));
        }
        notices
    }

    /// Adds a refusal.
    pub(super) fn refuse(&mut self, entry: AdmissionFinding) {
        add(&mut self.refusals, &mut self.left_out.refusals, entry);
    }

    /// Adds a refusal by a plugin that could not decide.
    pub(super) fn refuse_undecided(&mut self, entry: AdmissionFinding) {
        self.undecided += 1;
        self.refuse(entry);
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, entry: AdmissionFinding) {
        add(&mut self.warnings, &mut self.left_out.notices, entry);
    }

    /// Adds a report of a policy in monitor mode.
    pub(super) fn report(&mut self, entry: AdmissionFinding) {
        add(&mut self.reports, &mut self.left_out.notices, entry);
    }

    /// Counts refusals that are not listed.
    pub(super) fn refuse_more(&mut self, more: usize) {
        self.left_out.refusals += more;
    }

    /// Adds findings of the logic plugin or the host: errors as refusals, others as warnings.
    pub(super) fn add_findings(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            let entry = AdmissionFinding::new("", &finding.field, finding.message);
            match finding.severity {
                Severity::Error => self.refuse(entry),
                Severity::Mistake | Severity::Warning => self.warn(entry),
            }
        }
    }

    /// Adds the errors among the findings and drops the others.
    pub(super) fn add_errors(&mut self, mut findings: Vec<Finding>) {
        findings.retain(|finding| finding.severity == Severity::Error);
        self.add_findings(findings);
    }

    /// Adds the entries of a later result. Its changed object is ignored, because nothing may be changed any more.
    pub(super) fn merge(mut self, later: Self) -> Self {
        later.refusals.into_iter().for_each(|entry| self.refuse(entry));
        later.warnings.into_iter().for_each(|entry| self.warn(entry));
        later.reports.into_iter().for_each(|entry| self.report(entry));
        self.undecided += later.undecided;
        self.left_out.refusals += later.left_out.refusals;
        self.left_out.notices += later.left_out.notices;
        self
    }
}

/// Adds an entry to `entries`, or counts it in `left_out` if there are too many.
fn add(entries: &mut Vec<AdmissionFinding>, left_out: &mut usize, entry: AdmissionFinding) {
    if entries.len() < MAX_ENTRIES {
        entries.push(entry);
    } else {
        *left_out += 1;
    }
}

fn texts(entries: &[AdmissionFinding]) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
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
    fn a_hundred_entries_are_listed_and_the_others_counted() {
        let mut outcome = AdmissionOutcome::default();
        let of = |severity| (0..150).map(move |i| finding(severity, i.to_string()));
        outcome.add_findings(of(Severity::Warning).chain(of(Severity::Error)).collect());
        assert_eq!((outcome.refusals.len(), outcome.warnings.len()), (100, 100));
        assert!(
            outcome.refusal().ends_with("; 99; and 50 more"),
            "{}",
            outcome.refusal()
        );
        let notices = outcome.notices();
        assert_eq!(notices.len(), 101);
        assert_eq!(notices[100], "and 50 more warnings");

        let both = outcome.clone().merge(outcome);
        assert_eq!((both.refusals.len(), both.warnings.len()), (100, 100));
        assert!(both.refusal().ends_with("; and 200 more"), "{}", both.refusal());
        assert_eq!(both.left_out.notices, 200);
    }

    #[test]
    fn a_finding_is_a_single_line_of_limited_size() {
        let entry = AdmissionFinding::new(
            "p",
            "spec.a\nb",
            format!("one\ntwo{}", "x".repeat(MAX_MESSAGE_BYTES)),
        );
        let text = entry.to_string();
        assert!(text.starts_with("policy p: spec.a b: one two"), "{text}");
        assert!(text.len() < MAX_MESSAGE_BYTES + 100, "{}", text.len());
    }
}
