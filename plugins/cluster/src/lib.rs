//! The default cluster plugin.
//!
//! A `DaskCluster` consists of a scheduler (a Pod, or a Deployment of one replica) and a Service, both named
//! `<cluster>-scheduler`, and of the worker group `<cluster>-default`.
//!
//! The status of a cluster contains:
//!
//! * `phase`: `Created` at first, then `Running` as soon as all parts exist and the Service is reachable, or `Pending` while
//!   a load balancer has no address or the cluster is suspended. The host sets `Error` if the cluster can't be processed;
//! * `replicas`, `readyReplicas`, `selector`: values of the default group, for `kubectl scale` and autoscalers;
//! * `observedGeneration`: the generation of the spec that the status describes;
//! * `schedulerUid`: the UID of the last observed scheduler, to detect the loss of a scheduler;
//! * `registeredWith`: the UID of the scheduler with which a worker has registered;
//! * `schedulerRestarts`: the number of times that a scheduler was restarted, in a new pod or in the same one;
//! * `schedulerContainerRestarts`: the number of container restarts of the last observed scheduler's pod.
//!
//! The conditions are `Available`, `SchedulerReady` and `WorkersReady`; `ScaleDownBlocked` and `WorkersUpToDate` while the
//! default group has them; `SchedulerUpToDate` if the template of the scheduler is known; `SchedulerRestarted` after the first
//! restart; `Suspended` while the cluster is suspended; `Idle` if it has an idle timeout; `SpecQuestionable` if the spec very
//! likely contains a mistake.

mod available;
mod group;
mod idle;
mod phase;
mod plan;
mod registration;
mod requeue;
mod restarts;
mod scheduler;
mod service;
mod settings;
mod template;
mod update;
mod validate;

use dask_operator_plugin::dask::{defaults, kinds};
use dask_operator_plugin::prelude::*;

pub use phase::ClusterPhase;
pub use settings::Settings;

/// The logic plugin for `DaskCluster`.
#[derive(Debug, Clone, Copy)]
pub struct DefaultCluster;

impl Plugin for DefaultCluster {
    const NAME: &str = "cluster";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Manages the scheduler, the Service and the default worker group of a DaskCluster.";
    type Settings = Settings;
}

impl Logic<Cluster> for DefaultCluster {
    /// Includes Deployments for every setting of `workload`, because a scheduler may already exist as one.
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
