//! Helpers for the tests of plugins.

use dask_operator_core::digest::Digest;
use dask_operator_evaluator::logic::{LogicInterface, PluginFailure};
use dask_operator_evaluator::policy::PolicyInterface;
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, Plan, ResourceKind, Review,
    ReviewRequest,
};
use serde_json::Value;

use crate::plugins::resource::Resource;

/// Returns the resource of a DaskPlugin, from JSON.
pub(super) fn of_namespace(object: Value) -> Resource {
    Resource::of_namespace(serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}")))
}

/// Returns the resource of a ClusterDaskPlugin, from JSON.
pub(super) fn of_cluster(object: Value) -> Resource {
    Resource::of_cluster(serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}")))
}

/// Returns the digest of these bytes as text.
pub(super) fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// A component that declares no children and is never called.
pub(super) struct Unused;

impl LogicInterface for Unused {
    fn child_kinds(&self, _: &str) -> Result<Vec<ResourceKind>, PluginFailure> {
        Ok(Vec::new())
    }

    fn default(&self, _: &str, _: &str) -> Result<Answer<String>, PluginFailure> {
        Err("not called".into())
    }

    fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, PluginFailure> {
        Err("not called".into())
    }

    fn plan(&self, _: &Observation) -> Result<Answer<Plan>, PluginFailure> {
        Err("not called".into())
    }
}

impl PolicyInterface for Unused {
    fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        Err("not called".into())
    }

    fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        Err("not called".into())
    }
}
