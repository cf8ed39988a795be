//! Queries to a Dask scheduler.

use serde_json::Value;

use super::address;
use super::fields;
use crate::contract::{Observation, SchedulerFacts, SchedulerQuestion, SchedulerRequest, SchedulerState};

/// Period of queries while a plan waits for the result, in milliseconds.
pub const SOON: u64 = 1000;
/// Period of queries for monitoring, in milliseconds.
pub const NOW_AND_THEN: u64 = 5000;

/// Age at which facts are too old to use, in milliseconds: twelve periods of [`NOW_AND_THEN`].
pub const TOO_OLD: i64 = 60_000;

/// Creates a request that queries the scheduler of a cluster every `period` milliseconds. `cluster_spec` is the `spec` of
/// its `DaskCluster` after defaulting.
pub fn request(cluster_spec: &Value, questions: &[SchedulerQuestion], period: u64) -> SchedulerRequest {
    SchedulerRequest {
        questions: questions.to_vec(),
        period,
        target_duration: None,
        tls: address::scheme(&cluster_spec[fields::cluster::SCHEDULER][fields::template::SPEC]) == "tls",
        retire: Vec::new(),
    }
}

impl Observation {
    /// Returns the facts of the scheduler if they are not older than [`TOO_OLD`].
    pub fn recent_scheduler_facts(&self) -> Option<&SchedulerFacts> {
        self.scheduler_facts()
            .filter(|facts| facts.observed_at.saturating_add(TOO_OLD) >= self.now)
    }

    /// Returns the facts of the scheduler, or `None` if there are none.
    pub fn scheduler_facts(&self) -> Option<&SchedulerFacts> {
        match &self.scheduler {
            SchedulerState::Facts(facts) => Some(facts),
            SchedulerState::NotAsked | SchedulerState::Unreachable(_) => None,
        }
    }
}
