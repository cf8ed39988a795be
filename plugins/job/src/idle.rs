//! Deletion of a job's cluster that has been idle for too long.
//!
//! The cluster reports it in a condition but leaves its deletion to the job, which would create it again otherwise. The idle
//! time counts from the start of the code, because the cluster cannot have work before.

use dask_operator_plugin::dask::{conditions, fields, time};
use dask_operator_plugin::prelude::*;

use crate::attempts::{Attempts, Runner};
use crate::report;

/// The idle state of the cluster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// The cluster has work, or its state is unknown.
    No,
    /// The cluster will have been idle for long enough at this time.
    At(Timestamp),
    /// The cluster has been idle for too long. This is reported now, and the next plan deletes it. The text is the reason.
    Now(String),
    /// The cluster was deleted, and is not created again during this attempt.
    Deleted,
}

impl Idle {
    /// Reads the state of a job's cluster.
    pub(crate) fn of(
        cluster: Option<&ObservedObject>,
        attempts: Option<&Attempts>,
        runner: &Runner,
        now: Timestamp,
    ) -> Result<Self, Error> {
        if attempts.is_some_and(Attempts::is_without_cluster) {
            return Ok(Self::Deleted);
        }
        let running = runner
            .pod()
            .filter(|pod| pod.phase() == "Running" && !pod.terminating);
        let (Some(cluster), Some(pod)) = (cluster, running) else {
            return Ok(Self::No);
        };
        let cluster: Value = cluster.read()?;
        let reported = cluster["status"]["conditions"].as_array().into_iter().flatten();
        let timed_out = conditions::Idle::IdleTimeout.as_str();
        let mut idle = reported.filter(|condition| {
            condition["type"] == conditions::Idle::TYPE
                && condition["status"] == "True"
                && condition["reason"] == timed_out
        });
        let (Some(condition), Some(timeout)) = (
            idle.next(),
            time::seconds(&cluster["spec"][fields::cluster::IDLE_TIMEOUT]),
        ) else {
            return Ok(Self::No);
        };
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        let (idle_since, started) = (time::parse(text("lastTransitionTime")), pod.started());
        let due = match (idle_since, started) {
            (Some(idle_since), Some(started)) if idle_since < started.saturating_add(timeout) => {
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

    /// Returns the condition `ClusterIdle`, if it applies.
    pub(crate) fn condition(&self) -> Option<Condition> {
        match self {
            Self::No | Self::At(_) => None,
            Self::Now(why) => Some(report::cluster_idle(&format!(
                "{why}: it is deleted, the runner goes on"
            ))),
            Self::Deleted => Some(report::cluster_idle(
                "it had nothing to do for its idleTimeout and was deleted; the runner goes on",
            )),
        }
    }

    /// Returns the milliseconds until the idle timeout. `None` if it is not pending.
    pub(crate) fn due(&self, now: Timestamp) -> Option<u64> {
        match self {
            Self::At(due) => u64::try_from(due - now).ok(),
            Self::No | Self::Now(_) | Self::Deleted => None,
        }
    }
}
