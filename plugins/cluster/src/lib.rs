//! The default cluster component.
//!
//! A `DaskCluster` consists of a scheduler (a Pod, or a Deployment of one replica) and a Service, both named
//! `<cluster>-scheduler`, and of the worker group `<cluster>-default`.
//!
//! What a status of a cluster holds:
//!
//! * `phase`: `Created`; then `Running` as soon as everything exists and the Service is reachable, or `Pending` while a
//!   load balancer has no address or the cluster is suspended (`Error` is the host's, when the cluster can't be worked with);
//! * `replicas`, `readyReplicas`, `selector`: of the default group, for `kubectl scale` and autoscalers;
//! * `observedGeneration`: which generation of the spec this is about;
//! * `schedulerUid`: the scheduler that was seen last, so that a lost one is noticed;
//! * `registeredWith`: the scheduler with which a worker has registered;
//! * `schedulerRestarts`: how often a scheduler was started anew, as another pod or in the same;
//! * `schedulerContainerRestarts`: how often the one that was seen last was, in its pod.
//!
//! Its conditions are `Available`, `SchedulerReady` and `WorkersReady`; `ScaleDownBlocked` and `WorkersUpToDate` while its default
//! group has them; `SchedulerUpToDate` where the scheduler says what it was made from; `SchedulerRestarted` once it happened;
//! `Suspended` while it is; `Idle` where it has an idle timeout; `SpecQuestionable` where something in the spec is very likely a
//! mistake.

mod available;
mod group;
mod idle;
mod memory;
mod plan;
mod registration;
mod scheduler;
mod service;
mod settings;
mod template;
mod update;
mod validate;

use dask_operator_plugin::dask::{defaults, kinds};
use dask_operator_plugin::prelude::*;

pub use settings::Settings;

/// Logic of `DaskCluster`.
#[derive(Debug, Clone, Copy)]
pub struct DefaultCluster;

impl Plugin for DefaultCluster {
    const NAME: &str = "cluster";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Makes the scheduler, the Service and the default worker group of a DaskCluster.";
    type Settings = Settings;
}

impl Logic<Cluster> for DefaultCluster {
    /// Deployments are among them whatever new schedulers are made of: one may exist from before.
    fn child_kinds(_: &Settings) -> Vec<ResourceKind> {
        vec![
            kinds::pod(),
            kinds::service(),
            kinds::worker_group(),
            kinds::deployment(),
        ]
    }

    fn default(mut object: Value, settings: &Settings) -> Result<Value, Error> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(object) = object.as_object_mut() {
            let spec = object.entry("spec").or_insert_with(|| json!({}));
            defaults::cluster_spec(spec, &name, settings.default_image.as_deref());
        }
        Ok(object)
    }

    fn validate(object: &Value, _: Option<&Value>, _: &Settings) -> Vec<Finding> {
        validate::cluster(object)
    }

    fn plan(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
        plan::cluster(observation, settings)
    }
}
