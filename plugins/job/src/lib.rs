//! The default job plugin.
//!
//! A `DaskJob` consists of a `DaskCluster` with the same name and of the Pod `<job>-runner`, which runs the job's code. The
//! job ends when the runner ends and is not retried. Then the cluster is deleted.
//!
//! The status of a job contains `jobStatus` (`JobCreated`, `ClusterCreated`, `Running`, `Successful`, `Failed`, only in this
//! order), `clusterName`, `jobRunnerPodName`, `startTime` and `endTime`. Until the job ends, it also contains `attempts`, which
//! counts the starts of its code (`former`: by runners that are gone, `runner`: the UID of the present one, `ofRunner`: by
//! that one, `told`: the last one whose failure was reported, `idle`: the one whose cluster was deleted), and the conditions
//! `RunnerReady`, `Suspended` if it ever was suspended, `ClusterIdle`, and `SpecQuestionable` if the spec very likely contains
//! a mistake. The status of an ended job has none of these.

mod attempts;
mod children;
mod decision;
mod ended;
mod idle;
mod phase;
mod plan;
mod report;
mod settings;
mod validate;
mod workers;

use dask_operator_plugin::dask::{defaults, kinds};
use dask_operator_plugin::prelude::*;

pub use phase::JobPhase;
pub use settings::Settings;

/// The logic plugin for `DaskJob`.
#[derive(Debug, Clone, Copy)]
pub struct DefaultJob;

impl Plugin for DefaultJob {
    const NAME: &str = "job";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str =
        "Manages the DaskCluster and the runner Pod of a DaskJob and follows the runner to its end.";
    type Settings = Settings;
}

impl Logic<Job> for DefaultJob {
    fn child_kinds(_: &Settings) -> Vec<ResourceKind> {
        vec![kinds::cluster(), kinds::pod()]
    }

    fn default(mut object: Value, settings: &Settings) -> Result<Value, Error> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            defaults::job_spec(spec, &name, settings.default_image.as_deref());
        }
        Ok(object)
    }

    fn validate(object: &Value, old: Option<&Value>, _: &Settings) -> Vec<Finding> {
        validate::job(object, old)
    }

    fn plan(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
        plan::job(observation, settings)
    }
}
