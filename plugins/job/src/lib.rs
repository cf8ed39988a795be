//! The default job component.
//!
//! A `DaskJob` consists of a `DaskCluster` of the same name and of the Pod `<job>-runner`, which runs the job's code. When
//! the runner ends and is not tried again, its end is the job's, and the cluster goes.
//!
//! What a status of a job holds: `jobStatus` (`JobCreated`, `ClusterCreated`, `Running`, `Successful`, `Failed`, only
//! forward), `clusterName`, `jobRunnerPodName`, `startTime`, `endTime`. One that has not ended also has `attempts`, what
//! is remembered of starts of its code (`former`: by runners that are gone, `runner`: the UID of the present one,
//! `ofRunner`: by that, `told`: the last one whose failure was said, `idle`: the one whose cluster was taken away), and
//! the conditions `RunnerReady`, `Suspended` if it ever was, `ClusterIdle`, and `SpecQuestionable` where something in the
//! spec is very likely a mistake. A finished one has none of these.

mod attempts;
mod children;
mod ended;
mod idle;
mod life;
mod plan;
mod report;
mod settings;
mod validate;
mod workers;

use dask_operator_plugin::dask::main_container::Role;
use dask_operator_plugin::dask::{defaults, kinds};
use dask_operator_plugin::prelude::*;

pub use settings::Settings;

/// Logic of `DaskJob`.
#[derive(Debug, Clone, Copy)]
pub struct DefaultJob;

impl Plugin for DefaultJob {
    const NAME: &str = "job";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str =
        "Makes the DaskCluster and the runner Pod of a DaskJob and follows the runner to its end.";
    type Settings = Settings;
}

impl Logic<Job> for DefaultJob {
    fn child_kinds(_: &Settings) -> Vec<ResourceKind> {
        vec![kinds::cluster(), kinds::pod()]
    }

    fn default(mut object: Value, settings: &Settings) -> Result<Value, Error> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
            return Ok(object);
        };
        // The runner's code is what the workers run: where one of them has an image, the other has it too.
        let of_runner = spec
            .get("job")
            .and_then(|job| defaults::main_image(job, Role::Runner));
        let image = of_runner.unwrap_or_else(|| settings.default_image.clone());
        let cluster = spec.entry("cluster").or_insert_with(|| json!({}));
        let mut of_workers = None;
        if let Some(cluster) = cluster.as_object_mut() {
            let spec = cluster.entry("spec").or_insert_with(|| json!({}));
            defaults::cluster_spec(spec, &name, &image);
            of_workers = defaults::main_image(&spec["worker"], Role::Worker);
        }
        if let Some(job) = spec.get_mut("job") {
            defaults::job(job, &of_workers.unwrap_or(image));
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
