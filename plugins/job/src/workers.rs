//! Workers that the runner waits for.

use dask_operator_plugin::dask::conditions::RunnerReady;
use dask_operator_plugin::dask::fields;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::scheduler;
use dask_operator_plugin::prelude::*;

/// The number of workers that have registered with the job's scheduler, and the number that must before the runner starts.
#[derive(Debug)]
pub(crate) struct Registered {
    /// `spec.waitForWorkers`, or 0 if it is missing.
    pub(crate) wanted: u64,
    /// Number of registered workers. The error says why it is unknown, and is empty if the scheduler was not queried yet.
    registered: Result<u64, String>,
}

impl Registered {
    /// Reads the number of workers from an observation.
    pub(crate) fn of(observation: &Observation, job: &Resource<'_>) -> Self {
        let registered = match &observation.scheduler {
            SchedulerState::Facts(facts) => Ok(u64::try_from(facts.workers.len()).unwrap_or(u64::MAX)),
            SchedulerState::Unreachable(why) => Err(why.clone()),
            SchedulerState::NotAsked => Err(String::new()),
        };
        Self {
            wanted: job.spec[fields::job::WAIT_FOR_WORKERS].as_u64().unwrap_or(0),
            registered,
        }
    }

    /// Returns whether the runner may start.
    pub(crate) fn are_enough(&self) -> bool {
        self.wanted == 0
            || self
                .registered
                .as_ref()
                .is_ok_and(|registered| *registered >= self.wanted)
    }

    /// Returns the condition `RunnerReady` while the runner waits for workers.
    pub(crate) fn condition(&self) -> Condition {
        let message = match &self.registered {
            Ok(registered) => format!("{registered} of {} workers have registered", self.wanted),
            Err(why) if why.is_empty() => format!("the runner waits for {} workers", self.wanted),
            Err(why) => format!(
                "the runner waits for {} workers; the scheduler can't be asked for them: {why}",
                self.wanted
            ),
        };
        RunnerReady::WaitingForWorkers.condition(ConditionStatus::False, message)
    }

    /// Returns the scheduler query. `None` if the runner does not wait for workers.
    pub(crate) fn request(&self, job: &Resource<'_>) -> Option<SchedulerRequest> {
        let cluster = &job.spec[fields::job::CLUSTER][fields::template::SPEC];
        (self.wanted > 0).then(|| scheduler::request(cluster, &[SchedulerQuestion::Workers], scheduler::SOON))
    }
}
