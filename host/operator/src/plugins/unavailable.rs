//! Replacement of a component that can't be used now. Every call of it fails, so that the other components are still called.

use std::sync::Arc;

use dask_operator_evaluator::logic::{LogicInterface, LogicPlugin, PluginFailure, PluginOwner};
use dask_operator_evaluator::policy::{Mode, PolicyInterface, PolicyPlugin};
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, Plan, ResourceKind, Review,
    ReviewRequest,
};

use crate::plugins::error::PluginError;

/// Component whose calls all fail with this message.
struct UnavailableComponent(String);

impl UnavailableComponent {
    fn fail<T>(&self) -> Result<T, PluginFailure> {
        Err(self.0.clone().into())
    }
}

impl LogicInterface for UnavailableComponent {
    fn child_kinds(&self, _: &str) -> Result<Vec<ResourceKind>, PluginFailure> {
        self.fail()
    }

    fn default(&self, _: &str, _: &str) -> Result<Answer<String>, PluginFailure> {
        self.fail()
    }

    fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, PluginFailure> {
        self.fail()
    }

    fn plan(&self, _: &Observation) -> Result<Answer<Plan>, PluginFailure> {
        self.fail()
    }
}

impl PolicyInterface for UnavailableComponent {
    fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        self.fail()
    }

    fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        self.fail()
    }
}

/// Returns logic that fails with the message of `error`.
pub(super) fn logic(error: PluginError) -> Arc<LogicPlugin> {
    Arc::new(LogicPlugin {
        title: error.title,
        settings: "{}".to_owned(),
        child_kinds: Vec::new(),
        owner: PluginOwner::Administrator,
        logic: Arc::new(UnavailableComponent(error.message)),
    })
}

/// Returns a policy that fails with the message of `error`. Policies that only monitor need no replacement.
pub(super) fn policy(error: PluginError) -> Arc<PolicyPlugin> {
    Arc::new(PolicyPlugin {
        title: error.title,
        settings: "{}".to_owned(),
        mode: Mode::Protect,
        rules: Box::new(UnavailableComponent(error.message)),
    })
}
