//! Traits that a plugin implements.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::contract::{
    AdmissionRequest, AdmissionResponse, Error, Finding, Observation, Plan, ResourceKind, Review,
    ReviewRequest, Verdict,
};

/// Description of a component and its settings.
///
/// ```
/// # use dask_operator_plugin::prelude::*;
/// struct Mine;
///
/// impl Plugin for Mine {
///     const NAME: &str = "mine";
///     const VERSION: &str = env!("CARGO_PKG_VERSION");
///     const SUMMARY: &str = "Does what we need.";
///     type Settings = NoSettings;
/// }
/// ```
pub trait Plugin {
    /// Short name, for logs, events and metrics: `required-limits`.
    const NAME: &str;
    /// Semantic version of the component.
    const VERSION: &str;
    /// Summary of the component's purpose, in one sentence.
    const SUMMARY: &str;
    /// Type of the settings; [`NoSettings`] if there are none.
    type Settings: ComponentSettings;

    /// Checks settings beyond their types and names, which are already checked. Returns a finding for each problem.
    fn check_settings(_settings: &Self::Settings) -> Vec<Finding> {
        Vec::new()
    }
}

/// Settings of a component: a struct in which every field has a default.
///
/// Derive `Deserialize`, `Default` and `JsonSchema`, with `#[serde(default, deny_unknown_fields, rename_all =
/// "camelCase")]`. The doc comments of the fields become their descriptions in the schema, which users see.
pub trait ComponentSettings: DeserializeOwned + Default + JsonSchema {}

impl<T: DeserializeOwned + Default + JsonSchema> ComponentSettings for T {}

/// Settings of a component without settings.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NoSettings {}

/// Logic for one kind of resource. `Interface` selects the kind: [`Cluster`], [`WorkerGroup`], [`Job`] or [`Autoscaler`].
/// A plugin can implement several.
pub trait Logic<Interface>: Plugin {
    /// Returns the kinds of children that plans may contain. Children of other kinds are neither observed nor allowed.
    fn child_kinds(settings: &Self::Settings) -> Vec<ResourceKind>;

    /// Fills in defaults. Gets and returns the whole object. A second call must not change anything.
    ///
    /// # Errors
    ///
    /// Returns an error if the object is invalid or can't be processed.
    fn default(object: Value, _settings: &Self::Settings) -> Result<Value, Error> {
        Ok(object)
    }

    /// Checks the object after defaulting and returns a finding for each problem. `old` is the object before an update.
    fn validate(_object: &Value, _old: Option<&Value>, _settings: &Self::Settings) -> Vec<Finding> {
        Vec::new()
    }

    /// Returns the plan for a resource. It must depend on nothing but the observation and the settings.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Invalid`] if the parent can't be processed until a user changes it, and [`Error::Failed`] if the host
    /// must call again later.
    fn plan(observation: &Observation, settings: &Self::Settings) -> Result<Plan, Error>;
}

/// A rule in addition to the logic.
///
/// Admission and plan review check different things. An admitted manifest does not determine the pods that a component other
/// than the default one creates, and resources that are older than the policy were never admitted by it. A rule about pods
/// or numbers must therefore be enforced in [`review_plan`](Self::review_plan). Checking it in [`admit`](Self::admit) as well
/// reports the problem earlier, to the user who can fix it.
pub trait Policy: Plugin {
    /// Decides about an admission request to create, update or delete a resource. The default implementation allows all
    /// requests.
    ///
    /// # Errors
    ///
    /// Returns an error if the policy can't decide. The text is the reason.
    fn admit(_request: &AdmissionRequest, _settings: &Self::Settings) -> Result<AdmissionResponse, String> {
        Ok(AdmissionResponse {
            verdict: Verdict::Allow,
            warnings: Vec::new(),
        })
    }

    /// Decides about a plan that would write at least one child. A policy without rules for children returns
    /// [`Review::Allow`].
    ///
    /// # Errors
    ///
    /// Returns an error if the policy can't decide. The text is the reason.
    fn review_plan(request: &ReviewRequest, settings: &Self::Settings) -> Result<Review, String>;
}

/// The logic interface for `DaskCluster`.
#[derive(Debug, Clone, Copy)]
pub struct Cluster;

/// The logic interface for `DaskWorkerGroup`.
#[derive(Debug, Clone, Copy)]
pub struct WorkerGroup;

/// The logic interface for `DaskJob`.
#[derive(Debug, Clone, Copy)]
pub struct Job;

/// The logic interface for `DaskAutoscaler`.
#[derive(Debug, Clone, Copy)]
pub struct Autoscaler;
