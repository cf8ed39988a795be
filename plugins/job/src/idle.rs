//! A job's cluster that has had nothing to do for too long.
//!
//! The cluster says so in a condition and leaves it to the job, which would make it anew otherwise. What counts is the
//! time since the code runs: before that nobody could have given it anything to do.

use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::attempts::{Attempts, Runner};
use crate::report;

/// The cluster's condition, and the reason that it has when its idle timeout has passed.
const IDLE: &str = "Idle";
const IDLE_TIMEOUT: &str = "IdleTimeout";

/// Whether the cluster has work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// It has, or nobody knows.
    No,
    /// It will have had none for long enough at this time.
    At(Timestamp),
    /// It has had none for too long; it is said, and taken away with the next plan. This is why.
    Now(String),
    /// It was taken away, and stays away as long as this attempt goes on.
    Taken,
}

impl Idle {
    /// Looks at a job's cluster.
    pub(crate) fn of(
        cluster: Option<&ObservedObject>,
        attempts: Option<&Attempts>,
        runner: &Runner,
        now: Timestamp,
    ) -> Result<Self, Error> {
        if attempts.is_some_and(Attempts::is_without_cluster) {
            return Ok(Self::Taken);
        }
        let running = runner
            .pod()
            .filter(|pod| pod.phase() == "Running" && !pod.terminating);
        let (Some(cluster), Some(pod)) = (cluster, running) else {
            return Ok(Self::No);
        };
        let cluster: Value = cluster.read()?;
        let conditions = cluster["status"]["conditions"].as_array().into_iter().flatten();
        let mut idle = conditions.filter(|condition| {
            condition["type"] == IDLE && condition["status"] == "True" && condition["reason"] == IDLE_TIMEOUT
        });
        let (Some(condition), Some(timeout)) = (idle.next(), time::seconds(&cluster["spec"]["idleTimeout"]))
        else {
            return Ok(Self::No);
        };
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        let (said, started) = (time::parse(text("lastTransitionTime")), pod.started());
        let due = match (said, started) {
            (Some(said), Some(started)) if said < started.saturating_add(timeout) => {
                started.saturating_add(timeout)
            }
            _ => now,
        };
        Ok(if due > now {
            Self::At(due)
        } else {
            Self::Now(text("message").to_owned())
        })
    }

    /// What to say about it.
    pub(crate) fn condition(&self) -> Option<Condition> {
        match self {
            Self::No | Self::At(_) => None,
            Self::Now(why) => Some(report::cluster_idle(&format!(
                "{why}: it is deleted, the runner goes on"
            ))),
            Self::Taken => Some(report::cluster_idle(
                "it had nothing to do for its idleTimeout and was deleted; the runner goes on",
            )),
        }
    }

    /// In how many milliseconds to look again.
    pub(crate) fn due(&self, now: Timestamp) -> Option<u64> {
        match self {
            Self::At(due) => u64::try_from(due - now).ok(),
            Self::No | Self::Now(_) | Self::Taken => None,
        }
    }
}
