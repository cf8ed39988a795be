//! Workers that a runner waits for.

use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::scheduler;
use dask_operator_plugin::prelude::*;

use crate::report::RUNNER_READY;

/// How many workers have registered with the job's scheduler, and how many there shall be before its runner starts.
#[derive(Debug)]
pub(crate) struct Registered {
    /// `spec.waitForWorkers`.
    pub(crate) wanted: u64,
    /// Those that have; why nobody knows where nobody does, empty where nobody was asked yet.
    here: Result<u64, String>,
}

impl Registered {
    /// Looks at what the scheduler said.
    pub(crate) fn of(observation: &Observation, job: &Resource<'_>) -> Self {
        let here = match &observation.scheduler {
            SchedulerState::Facts(facts) => Ok(u64::try_from(facts.workers.len()).unwrap_or(u64::MAX)),
            SchedulerState::Unreachable(why) => Err(why.clone()),
            SchedulerState::NotAsked => Err(String::new()),
        };
        Self {
            wanted: job.spec["waitForWorkers"].as_u64().unwrap_or(0),
            here,
        }
    }

    /// The runner may start.
    pub(crate) fn are_enough(&self) -> bool {
        self.wanted == 0 || self.here.as_ref().is_ok_and(|here| *here >= self.wanted)
    }

    /// Why the runner does not exist.
    pub(crate) fn condition(&self) -> Condition {
        let message = match &self.here {
            Ok(here) => format!("{here} of {} workers have registered", self.wanted),
            Err(why) if why.is_empty() => format!("the runner waits for {} workers", self.wanted),
            Err(why) => format!(
                "the runner waits for {} workers; the scheduler can't be asked for them: {why}",
                self.wanted
            ),
        };
        Condition::new(RUNNER_READY, ConditionStatus::False, "WaitingForWorkers", message)
    }

    /// What to ask the scheduler, where there is something to wait for.
    pub(crate) fn request(&self, job: &Resource<'_>) -> Option<SchedulerRequest> {
        let cluster = &job.spec["cluster"]["spec"];
        (self.wanted > 0).then(|| scheduler::request(cluster, &[SchedulerQuestion::Workers], scheduler::SOON))
    }
}
