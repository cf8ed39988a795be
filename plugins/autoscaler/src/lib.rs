//! The default autoscaler component.
//!
//! It keeps the default worker group of a cluster between `spec.minimum` and `spec.maximum`, and follows what the
//! Dask scheduler could use while that is known.

mod plan;
mod validate;

use dask_operator_plugin::prelude::*;

/// Logic of `DaskAutoscaler`.
#[derive(Debug, Clone, Copy)]
pub struct DefaultAutoscaler;

impl Plugin for DefaultAutoscaler {
    const NAME: &str = "autoscaler";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Scales the default worker group of a DaskCluster between minimum and maximum.";
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

#[cfg(feature = "component")]
dask_operator_plugin::export!(DefaultAutoscaler: autoscaler);
