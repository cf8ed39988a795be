//! The default worker-group plugin.
//!
//! A `DaskWorkerGroup` consists of workers: Pods named `<group>-worker-<10 hexadecimal digits>`, or Deployments of one
//! replica each. Lost workers are replaced.
//!
//! A plan is made in these steps: `registration` assigns the scheduler's workers to pods, `observed` reads the existing workers,
//! `desired` determines the desired state, `removals` selects the workers that leave (with `removal_order` and `rollout`),
//! `drain` decides about those that are already leaving, `plan` adds the missing workers (from `template`) and combines the
//! results, and `conditions` and `events` report them.
//!
//! The status of a worker group contains `replicas`, `readyReplicas`, `updatedReplicas`, `selector`, `observedGeneration`,
//! `retiringReplicas` while workers are retiring, and `schedulerUnreachableSince` while workers are to leave, the scheduler
//! can't be queried and `scaleDown` is `unsafe`. Its conditions are `WorkersReady` and, if they apply, `ScaleDownBlocked`,
//! `WorkersUpToDate` and `SpecQuestionable`.

mod conditions;
mod desired;
mod disruptions;
mod drain;
mod events;
mod observed;
mod plan;
mod registration;
mod removal_order;
mod removals;
mod rollout;
mod settings;
mod silence;
mod takers;
mod template;
#[cfg(test)]
mod tests;
mod validate;

use dask_operator_plugin::dask::{defaults, fields, kinds};
use dask_operator_plugin::prelude::*;

pub use settings::Settings;

/// The logic plugin for `DaskWorkerGroup`.
#[derive(Debug, Clone, Copy)]
pub struct DefaultWorkerGroup;

impl Plugin for DefaultWorkerGroup {
    const NAME: &str = "worker-group";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Manages the workers of a DaskWorkerGroup and replaces those that are lost.";
    type Settings = Settings;
}

impl Logic<WorkerGroup> for DefaultWorkerGroup {
    /// Returns Pods and Deployments for every setting of `workload`, because both may already exist.
    fn child_kinds(_: &Settings) -> Vec<ResourceKind> {
        vec![kinds::pod(), kinds::deployment()]
    }

    fn default(mut object: Value, settings: &Settings) -> Result<Value, Error> {
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            defaults::worker(
                spec.entry(fields::worker_group::WORKER)
                    .or_insert_with(|| json!({})),
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
