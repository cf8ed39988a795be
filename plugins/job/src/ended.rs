//! Plans for jobs whose status says that they have ended.

use dask_operator_plugin::dask::pod::Pod;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::{fields, kinds, names, time};
use dask_operator_plugin::prelude::*;

use crate::phase::JobPhase;

/// Plans a job that has ended. A runner that ended stays because of its logs. A runner that still runs is deleted: the job's
/// deadline passed, or only its sidecars are left. The cluster is deleted, unless the deletion policy keeps it.
///
/// # Errors
///
/// Returns an error if the runner pod can't be read.
pub(crate) fn job(observation: &Observation, job: &Resource<'_>) -> Result<Plan, Error> {
    let phase = JobPhase::of(job.status).unwrap_or(JobPhase::Failed);
    let runner = observation.child(&kinds::pod(), &names::runner(job.name));
    let runs_on = |observed: &ObservedObject| Ok::<bool, Error>(!Pod::of(observed)?.is_over());
    let stopped = runner.map(runs_on).transpose()?.unwrap_or(false);
    let cluster = observation
        .child(&kinds::cluster(), job.name)
        .filter(|_| keeps_cluster(job, phase));
    let children = runner.filter(|_| !stopped).into_iter().chain(cluster);
    let time_left = time_left(job, observation.now);
    let delete = time_left.is_some_and(|left| left <= 0);
    Ok(Plan {
        children: children.map(DesiredChild::keep).collect(),
        status: status(job.status).to_string(),
        requeue_after: time_left
            .and_then(|left| u64::try_from(left).ok())
            .filter(|left| *left > 0),
        delete_parent: delete.then(|| "ttlSecondsAfterFinished seconds have passed since its end".to_owned()),
        ..Plan::default()
    })
}

/// Returns whether the cluster of a job that ended in this phase stays.
pub(crate) fn keeps_cluster(job: &Resource<'_>, phase: JobPhase) -> bool {
    phase == JobPhase::Failed && job.spec[fields::job::DELETION_POLICY] == fields::job::ON_SUCCESS
}

/// Returns the milliseconds until the job itself is deleted. `None` if it has no `ttlSecondsAfterFinished` or no end time.
fn time_left(job: &Resource<'_>, now: Timestamp) -> Option<i64> {
    let ttl = time::seconds(&job.spec[fields::job::TTL_AFTER_FINISHED])?;
    let end = job.status["endTime"].as_str().and_then(time::parse)?;
    Some(end.saturating_add(ttl).saturating_sub(now))
}

/// Returns the status of a job that has ended: only the fields that other tools know, without any other contents.
fn status(status: &Value) -> Value {
    let fields = [
        "clusterName",
        "jobRunnerPodName",
        "jobStatus",
        "startTime",
        "endTime",
    ];
    let existing = fields.into_iter().filter(|field| !status[field].is_null());
    existing
        .map(|field| (field.to_owned(), status[field].clone()))
        .collect()
}
