//! Policies: rules on top of the logic, stacked.

use std::fmt;

use dask_operator_runtime::Component;
use dask_operator_runtime::contract::{AdmissionRequest, AdmissionResponse, Review, ReviewRequest};

use crate::logic::Failure;

/// The contract's policy interface. The text of an inner error says why the
/// policy could not decide.
pub trait Rules: Send + Sync {
    /// What it says of a request at admission.
    ///
    /// # Errors
    ///
    /// When it did not answer.
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, Failure>;

    /// What it says of planned children.
    ///
    /// # Errors
    ///
    /// When it did not answer.
    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, Failure>;
}

impl Rules for Component {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, Failure> {
        Ok(Self::admit(self, request)?)
    }

    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, Failure> {
        Ok(Self::review_plan(self, request)?)
    }
}

/// Bytes of an object (JSON) up to which it is a component's own fault that it fails. Who writes a larger one may have made it
/// so that the component exceeds its limits.
pub const LARGE: usize = 256 << 10;

/// What a policy's word counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What it says is done: requests and plans are refused or changed.
    #[default]
    Protect,
    /// What it says is only reported.
    Monitor,
}

/// A policy in its place in the stack.
pub struct Policy {
    /// What it is called in messages: name, version and digest, and where it was set up.
    pub title: String,
    /// The settings that it gets, a JSON object.
    pub settings: String,
    /// What its word counts.
    pub mode: Mode,
    /// Who is asked.
    pub rules: Box<dyn Rules>,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("title", &self.title)
            .field("settings", &self.settings)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What a component is called in messages: `cluster 0.1.0 (0123456789ab)`.
#[must_use]
pub fn title(component: &Component) -> String {
    format!(
        "{} {} ({})",
        component.name(),
        component.description().version,
        component.digest().short()
    )
}
