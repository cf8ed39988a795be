//! What a plugin's author implements.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::contract::{
    AdmissionRequest, AdmissionResponse, Error, Finding, Observation, Plan, ResourceKind, Review,
    ReviewRequest, Verdict,
};

/// A component about itself.
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
    /// A short name, for logs, events and metrics: `required-limits`.
    const NAME: &str;
    /// A semantic version.
    const VERSION: &str;
    /// What it does, in a sentence.
    const SUMMARY: &str;
    /// Its settings.
    type Settings: Settings;

    /// Checks settings beyond their types, which are checked already. Unknown names are told as well.
    fn check_settings(_settings: &Self::Settings) -> Vec<Finding> {
        Vec::new()
    }
}

/// Settings of a component: a struct whose every field has a default.
///
/// Derive `Deserialize`, `Default` and `JsonSchema`, with `#[serde(default, deny_unknown_fields, rename_all =
/// "camelCase")]`. The doc comments of the fields become descriptions in the schema that people see.
pub trait Settings: DeserializeOwned + Default + JsonSchema {}

impl<T: DeserializeOwned + Default + JsonSchema> Settings for T {}

/// Settings of a component that has none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NoSettings {}

/// The logic of one kind of resource. `Interface` says which: [`Cluster`], [`WorkerGroup`], [`Job`] or
/// [`Autoscaler`]; one plugin can have several.
pub trait Logic<Interface>: Plugin {
    /// The kinds of children that plans may hold. Children of other kinds are neither observed nor allowed.
    fn child_kinds(settings: &Self::Settings) -> Vec<ResourceKind>;

    /// Fills in what the author left out, in the whole object. Defaulting twice must change nothing the second
    /// time.
    fn default(object: Value, _settings: &Self::Settings) -> Result<Value, Error> {
        Ok(object)
    }

    /// Says what is wrong, after defaulting. `old` is the object before an update.
    fn validate(_object: &Value, _old: Option<&Value>, _settings: &Self::Settings) -> Vec<Finding> {
        Vec::new()
    }

    /// Says what shall be. The same observation must give the same plan.
    fn plan(observation: &Observation, settings: &Self::Settings) -> Result<Plan, Error>;
}

/// A rule on top of the logic.
///
/// What people ask for and what is made of it are two things. A manifest that was admitted says little about the pods
/// that a component other than the default one makes, and objects that were there before the policy were never asked
/// about. So a rule about pods or numbers has to stand in [`review_plan`](Self::review_plan), where it holds;
/// [`admit`](Self::admit) says it early, and where it can be mended.
pub trait Policy: Plugin {
    /// Asked at admission, for each create, update and delete; answered with yes unless you write it. The text of an
    /// error says why the policy could not decide.
    fn admit(_request: &AdmissionRequest, _settings: &Self::Settings) -> Result<AdmissionResponse, String> {
        Ok(AdmissionResponse {
            verdict: Verdict::Allow,
            warnings: Vec::new(),
        })
    }

    /// Asked for each plan that would write something. A policy that has nothing to say about children answers with
    /// [`Review::Allow`]. The text of an error says why the policy could not decide.
    fn review_plan(request: &ReviewRequest, settings: &Self::Settings) -> Result<Review, String>;
}

/// Logic of `DaskCluster`.
#[derive(Debug, Clone, Copy)]
pub struct Cluster;

/// Logic of `DaskWorkerGroup`.
#[derive(Debug, Clone, Copy)]
pub struct WorkerGroup;

/// Logic of `DaskJob`.
#[derive(Debug, Clone, Copy)]
pub struct Job;

/// Logic of `DaskAutoscaler`.
#[derive(Debug, Clone, Copy)]
pub struct Autoscaler;
