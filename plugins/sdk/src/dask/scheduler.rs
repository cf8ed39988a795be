//! What is asked of a Dask scheduler.

use serde_json::Value;

use super::address;
use crate::contract::{Observation, SchedulerFacts, SchedulerQuestion, SchedulerRequest, SchedulerState};

/// Milliseconds between two questions, where a plan waits for an answer.
pub const SOON: u64 = 1000;
/// Milliseconds between two questions, where a plan only keeps an eye on things.
pub const NOW_AND_THEN: u64 = 5000;

/// Milliseconds after which facts say nothing about now: twelve periods of [`NOW_AND_THEN`] without an answer.
pub const TOO_OLD: i64 = 60_000;

/// A request to the scheduler of a cluster, every `period` milliseconds. `cluster_spec` is `spec` of its
/// `DaskCluster`, after defaulting.
pub fn request(cluster_spec: &Value, questions: &[SchedulerQuestion], period: u64) -> SchedulerRequest {
    SchedulerRequest {
        questions: questions.to_vec(),
        period,
        target_duration: None,
        tls: address::scheme(&cluster_spec["scheduler"]["spec"]) == "tls",
        retire: Vec::new(),
    }
}

impl Observation {
    /// Returns what the scheduler said, if it said something not longer than [`TOO_OLD`] ago.
    pub fn recent_scheduler_facts(&self) -> Option<&SchedulerFacts> {
        self.scheduler_facts()
            .filter(|facts| facts.observed_at.saturating_add(TOO_OLD) >= self.now)
    }

    /// What the scheduler said, if it said something.
    pub fn scheduler_facts(&self) -> Option<&SchedulerFacts> {
        match &self.scheduler {
            SchedulerState::Facts(facts) => Some(facts),
            SchedulerState::NotAsked | SchedulerState::Unreachable(_) => None,
        }
    }
}
