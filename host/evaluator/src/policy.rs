//! Policies, which restrict or change the results of the logic plugins.

use std::fmt;

use dask_operator_runtime::Component;
use dask_operator_runtime::contract::{AdmissionRequest, AdmissionResponse, Review, ReviewRequest};

use crate::logic::PluginFailure;

/// The contract's policy interface. An inner error is the policy's own reason why it could not decide.
pub trait PolicyInterface: Send + Sync {
    /// Returns the policy's response to an admission request.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure>;

    /// Returns the policy's review of planned children.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure>;
}

impl PolicyInterface for Component {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        Ok(Self::admit(self, request)?)
    }

    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        Ok(Self::review_plan(self, request)?)
    }
}

/// Maximum size of an object as JSON, in bytes, for which a failed call counts as the component's own fault. A tenant may have
/// made a larger object so that the component exceeds its limits.
pub const LARGE: usize = 256 << 10;

/// Effect of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The policy is enforced: it can refuse or change requests and plans.
    #[default]
    Protect,
    /// The policy is only monitored: its result is reported and has no other effect.
    Monitor,
}

/// A policy with its settings and mode.
pub struct PolicyPlugin {
    /// Name of the policy in messages: name, version and digest, and the resource that configures it.
    pub title: String,
    /// The settings that the policy receives, a JSON object.
    pub settings: String,
    /// The effect of the policy.
    pub mode: Mode,
    /// The implementation, which is usually a component.
    pub rules: Box<dyn PolicyInterface>,
}

impl fmt::Debug for PolicyPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("title", &self.title)
            .field("settings", &self.settings)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
