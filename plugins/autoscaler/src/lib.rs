//! The default autoscaler component.
//!
//! It keeps one worker group of a cluster between `spec.minimum` and `spec.maximum`, and follows what the Dask scheduler
//! could use: up at once, down when fewer workers were enough for a while, as `spec.scaleUp` and `spec.scaleDown` say.
//!
//! What is decided is a pure function of numbers and the time (`decision`); the rest reads them out of an observation
//! and says why.

mod cooldown;
mod decision;
mod plan;
mod policy;
mod report;
mod status;
mod validate;
mod workers;

use dask_operator_plugin::prelude::*;

/// Logic of `DaskAutoscaler`.
#[derive(Debug, Clone, Copy)]
pub struct DefaultAutoscaler;

impl Plugin for DefaultAutoscaler {
    const NAME: &str = "autoscaler";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str =
        "Scales a worker group of a DaskCluster as its scheduler can use it, between minimum and maximum.";
    type Settings = NoSettings;
}

impl Logic<Autoscaler> for DefaultAutoscaler {
    fn child_kinds(_: &NoSettings) -> Vec<ResourceKind> {
        Vec::new()
    }

    fn validate(object: &Value, _: Option<&Value>, _: &NoSettings) -> Vec<Finding> {
        validate::autoscaler(object)
    }

    fn plan(observation: &Observation, _: &NoSettings) -> Result<Plan, Error> {
        plan::autoscaler(observation)
    }
}
