//! What a job consists of and where it is.

use dask_operator_plugin::dask::pod::Pod;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::{kinds, names, time};
use dask_operator_plugin::prelude::*;

use crate::life::{Life, Runner, Stage};
use crate::{DefaultJob, Settings, children, validate};

/// Whether the runner runs.
const RUNNER_READY: &str = "RunnerReady";
/// How long to wait for a runner whose name another pod may still have, such as that of a former job of this name.
const LOOK_AGAIN: u64 = 2000;

/// Plans a `DaskJob`.
pub(crate) fn job(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
    let parent = observation.parent_json()?;
    let before = Stage::of(&parent["status"]);
    let runner_name = names::runner(Resource::of(&parent).name);
    let observed_runner = observation.child(&kinds::pod(), &runner_name);
    if before.is_some_and(Stage::is_end) {
        // Whatever became of its spec since, an end is an end.
        return Ok(ended(observed_runner, finished_status(&parent["status"])));
    }
    let job = <DefaultJob as Logic<Job>>::default(parent, settings)?;
    Error::if_invalid(validate::job(&job))?;
    let job = Resource::of(&job);
    let observed_cluster = observation.child(&kinds::cluster(), job.name);
    let before = before.unwrap_or(Stage::JobCreated);
    let start = job.status["startTime"].as_str().and_then(time::parse);
    let runner = match observed_runner {
        Some(observed) => Runner::Here(Box::new(Pod::of(observed)?)),
        None if before >= Stage::Running => Runner::Vanished,
        None => Runner::Missing,
    };
    let life = Life::of(
        before,
        start,
        &runner,
        observed_cluster.is_some(),
        observation.now,
    );
    let status = life.status(job.name, &runner_name).to_string();
    let events = events(before, &life);
    if life.stage.is_end() {
        return Ok(Plan {
            events,
            ..ended(observed_runner, status)
        });
    }
    let cluster = match observed_cluster {
        Some(observed) if observed.terminating => DesiredChild::keep(observed),
        _ => children::cluster(&job, settings),
    };
    let runner_child = observed_runner.map_or_else(|| children::runner(&job, settings), DesiredChild::keep);
    Ok(Plan {
        children: vec![cluster, runner_child],
        status,
        conditions: vec![runner_ready(&runner, &runner_name)],
        events,
        requeue_after: matches!(runner, Runner::Missing).then_some(LOOK_AGAIN),
        ..Plan::default()
    })
}

/// A job that is over: the cluster is left out, so that it goes; the runner stays, for its logs.
fn ended(runner: Option<&ObservedObject>, status: String) -> Plan {
    Plan {
        children: runner.map(DesiredChild::keep).into_iter().collect(),
        status,
        ..Plan::default()
    }
}

/// The status of a job that ended earlier, without anything that somebody else may have put there.
fn finished_status(status: &Value) -> String {
    let fields = [
        "clusterName",
        "jobRunnerPodName",
        "jobStatus",
        "startTime",
        "endTime",
    ];
    let kept = fields.into_iter().filter(|field| !status[field].is_null());
    kept.map(|field| (field.to_owned(), status[field].clone()))
        .collect::<Value>()
        .to_string()
}

fn events(before: Stage, life: &Life) -> Vec<Event> {
    if life.stage == before {
        return Vec::new();
    }
    match life.stage {
        Stage::Running => vec![Event::normal("JobRunning", "the runner pod runs")],
        Stage::Successful => vec![Event::normal(
            "JobSuccessful",
            "the runner pod succeeded, the job's cluster is deleted",
        )],
        Stage::Failed => {
            let why = life.failure.as_ref().map_or_else(String::new, |cause| {
                let message = if cause.message.is_empty() {
                    String::new()
                } else {
                    format!(": {}", cause.message)
                };
                format!(" ({}{message})", cause.reason)
            });
            vec![Event::warning(
                "JobFailed",
                format!("the runner pod failed{why}, the job's cluster is deleted"),
            )]
        }
        Stage::JobCreated | Stage::ClusterCreated => Vec::new(),
    }
}

fn runner_ready(runner: &Runner, name: &str) -> Condition {
    let not_ready =
        |reason: &str, message: String| Condition::new(RUNNER_READY, ConditionStatus::False, reason, message);
    let pod = match runner {
        Runner::Here(pod) => pod,
        Runner::Missing | Runner::Vanished => {
            return not_ready("RunnerMissing", format!("pod {name} does not exist yet"));
        }
    };
    match pod.trouble() {
        _ if pod.terminating => not_ready("RunnerTerminating", format!("pod {name} is on its way out")),
        Some(cause) => not_ready(&cause.reason, format!("pod {name} waits: {}", cause.message)),
        None if pod.phase() == "Running" => Condition::new(
            RUNNER_READY,
            ConditionStatus::True,
            "RunnerRunning",
            format!("pod {name} runs"),
        ),
        None => not_ready("RunnerStarting", format!("pod {name} is starting")),
    }
}

#[cfg(test)]
mod tests;
