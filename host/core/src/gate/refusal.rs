//! Why a plan is refused.

use std::fmt;

use thiserror::Error;

use crate::plan::ChildKey;
use crate::text;

/// How many violations are kept. A plan of thousands of children breaks a rule thousands of times.
const KEPT: usize = 100;

/// How many violations a message spells out.
const SPELLED_OUT: usize = 10;

/// Bytes of a child's name or a field, as a violation has it.
const NAME: usize = 300;

/// Bytes of a violation's message. What is wrong stands in it, and may be of any length.
const MESSAGE: usize = 2000;

/// One thing that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The child, as `Pod a-scheduler`; none for the plan itself.
    pub child: Option<String>,
    /// Where, as `metadata.labels[dask.org/cluster-name]`; empty for the whole.
    pub field: String,
    /// What is wrong and what to write instead.
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

/// Why a plan was refused: at least one violation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
pub struct Refusal {
    /// What is wrong: all of it, or the first hundred.
    pub violations: Vec<Violation>,
    /// How many violations there are beside these.
    pub more: usize,
}

impl Refusal {
    /// Adds a violation, each of its texts one line of bounded length.
    pub(super) fn add(&mut self, child: Option<&ChildKey>, field: &str, message: &str) {
        if self.violations.len() == KEPT {
            self.more += 1;
            return;
        }
        self.violations.push(Violation {
            child: child.map(|child| text::line(&child.to_string(), NAME)),
            field: text::line(field, NAME),
            message: text::line(message, MESSAGE),
        });
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.violations.iter().take(SPELLED_OUT).enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        match self.violations.len().saturating_sub(SPELLED_OUT) + self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
