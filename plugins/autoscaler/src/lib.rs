//! The default autoscaler plugin.
//!
//! The plugin scales one worker group of a cluster between `spec.minimum` and `spec.maximum`, following the number of
//! workers that the Dask scheduler could use: up immediately, and down after fewer workers were enough for a while, as
//! configured in `spec.scaleUp` and `spec.scaleDown`.
//!
//! The decision is a pure function of numbers and the time (`decision`). The other modules read its input from an
//! observation and report its reasons.

mod cooldown;
mod decision;
mod plan;
mod policy;
mod report;
mod status;
mod validate;
mod workers;

use dask_operator_plugin::prelude::*;

/// The logic plugin for `DaskAutoscaler`.
#[derive(Debug, Clone, Copy)]
pub struct DefaultAutoscaler;

impl Plugin for DefaultAutoscaler {
    const NAME: &str = "autoscaler";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Scales a worker group of a DaskCluster between minimum and maximum, following the demand of its scheduler.";
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
