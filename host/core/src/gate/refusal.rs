//! Refusal of a plan: the list of rules that the plan violates.

use std::fmt;

use thiserror::Error;

use crate::plan::ChildKey;
use crate::text;

/// Maximum number of violations in a refusal. A plan with thousands of children can violate a rule thousands of times.
const MAX_VIOLATIONS: usize = 100;

/// Maximum number of violations in the text of a refusal.
const MAX_DISPLAYED: usize = 10;

/// Maximum length in bytes of a child's name or a field path in a violation.
const MAX_NAME_BYTES: usize = 300;

/// Maximum length in bytes of a violation's message, which quotes values of the plan that can have any length.
const MAX_MESSAGE_BYTES: usize = 2000;

/// One rule that a plan violates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The child, such as `Pod a-scheduler`; `None` for the plan itself.
    pub child: Option<String>,
    /// Path of the field, such as `metadata.labels[dask.org/cluster-name]`; empty for the child or the plan as a whole.
    pub field: String,
    /// Description of the problem and of the valid value.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.child.as_deref().unwrap_or("plan"), self.field.as_str()) {
            (child, "") => write!(f, "{child}: {}", self.message),
            (child, field) => write!(f, "{child}, {field}: {}", self.message),
        }
    }
}

/// Refusal of a plan, with at least one violation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
pub struct Refusal {
    /// The violations, at most the first hundred.
    pub violations: Vec<Violation>,
    /// Number of violations that are left out of `violations`.
    pub more: usize,
}

impl Refusal {
    /// Adds a violation. Each of its texts becomes one line of limited length.
    pub(super) fn add(&mut self, child: Option<&ChildKey>, field: &str, message: &str) {
        if self.violations.len() == MAX_VIOLATIONS {
            self.more += 1;
            return;
        }
        self.violations.push(Violation {
            child: child.map(|child| text::line(&child.to_string(), MAX_NAME_BYTES)),
            field: text::line(field, MAX_NAME_BYTES),
            message: text::line(message, MAX_MESSAGE_BYTES),
        });
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.violations.iter().take(MAX_DISPLAYED).enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        match self.violations.len().saturating_sub(MAX_DISPLAYED) + self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
