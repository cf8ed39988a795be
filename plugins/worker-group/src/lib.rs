//! The default worker-group component.
//!
//! A `DaskWorkerGroup` consists of workers: Pods named `<group>-worker-<10 hexadecimal digits>`, or Deployments of one
//! replica each. Workers that are lost are replaced.
//!
//! A plan goes one way: `roster` finds the scheduler's workers in the pods, `census` says which workers there are,
//! `wanted` what there shall be, `departures` who is told to leave (by `victims` and `rollout`), `drain`
//! what becomes of those who were, `plan` puts it together with the workers that are missing (from `template`),
//! and `conditions` and `events` say it.
//!
//! What a status of a worker group holds: `replicas`, `readyReplicas`, `updatedReplicas`, `selector`,
//! `observedGeneration` and, while there are some, `retiringReplicas`, and `schedulerUnreachableSince` while workers are
//! to leave, the scheduler can't be asked, and `scaleDown` is `unsafe`; its conditions are `WorkersReady` and, while
//! there is something to say, `ScaleDownBlocked`, `WorkersUpToDate` and `SpecQuestionable`.

mod census;
mod conditions;
mod departures;
mod drain;
mod events;
mod notices;
mod plan;
mod rollout;
mod roster;
mod settings;
mod silence;
mod takers;
mod template;
#[cfg(test)]
mod tests;
mod validate;
mod victims;
mod wanted;

use dask_operator_plugin::dask::{defaults, kinds};
use dask_operator_plugin::prelude::*;

pub use settings::Settings;

/// Logic of `DaskWorkerGroup`.
#[derive(Debug, Clone, Copy)]
pub struct DefaultWorkerGroup;

impl Plugin for DefaultWorkerGroup {
    const NAME: &str = "worker-group";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Makes the workers of a DaskWorkerGroup and replaces those that are lost.";
    type Settings = Settings;
}

impl Logic<WorkerGroup> for DefaultWorkerGroup {
    /// Pods and Deployments, whatever new workers are made of: both may exist from before.
    fn child_kinds(_: &Settings) -> Vec<ResourceKind> {
        vec![kinds::pod(), kinds::deployment()]
    }

    fn default(mut object: Value, settings: &Settings) -> Result<Value, Error> {
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            defaults::worker(
                spec.entry("worker").or_insert_with(|| json!({})),
                settings.default_image.as_deref(),
            );
        }
        Ok(object)
    }

    fn validate(object: &Value, old: Option<&Value>, _: &Settings) -> Vec<Finding> {
        validate::worker_group(object, old)
    }

    fn plan(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
        plan::worker_group(observation, settings)
    }
}
