//! The scheduler: never two at once, and a lost one is replaced and said.

use dask_operator_plugin::dask::metadata::{self, Metadata};
use dask_operator_plugin::dask::pod::Pod;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::workload::DeploymentState;
use dask_operator_plugin::dask::{kinds, names};
use dask_operator_plugin::prelude::*;

use crate::Settings;

/// What is known of the scheduler.
#[derive(Debug)]
pub(crate) struct Scheduler {
    /// It exists and stays.
    pub(crate) exists: bool,
    /// Whether it is ready, and why not.
    pub(crate) condition: Condition,
    /// What shall become of it; none while a lost one has to go first.
    pub(crate) child: Option<DesiredChild>,
    /// The UID of the one that exists.
    uid: Option<String>,
}

/// What the status remembers of schedulers.
#[derive(Debug, PartialEq)]
pub(crate) struct Memory {
    /// The scheduler that was seen last; empty after it was lost.
    pub(crate) uid: String,
    /// How often a lost one was replaced.
    pub(crate) restarts: u64,
    /// One was lost since this was written.
    pub(crate) lost: bool,
}

const SCHEDULER_READY: &str = "SchedulerReady";

impl Scheduler {
    /// Looks at the scheduler of a cluster (after defaulting) and says what it shall be.
    pub(crate) fn of(
        observation: &Observation,
        cluster: &Resource<'_>,
        handed_down: &Metadata,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let name = names::scheduler(cluster.name);
        let pod = observation.child(&kinds::pod(), &name);
        let deployment = observation.child(&kinds::deployment(), &name);
        match (pod, deployment) {
            (Some(pod), _) => Self::of_pod(pod),
            (None, Some(deployment)) => Self::of_deployment(deployment),
            (None, None) => Ok(Self::missing(name, cluster, handed_down, settings)),
        }
    }

    fn of_pod(observed: &ObservedObject) -> Result<Self, Error> {
        let pod = Pod::of(observed)?;
        let name = &pod.name;
        let not_ready = |reason: &str, message: String| {
            Condition::new(SCHEDULER_READY, ConditionStatus::False, reason, message)
        };
        let keep = Some(DesiredChild::keep(observed));
        let (exists, condition, child) = match pod.trouble() {
            _ if pod.terminating => (
                false,
                not_ready(
                    "SchedulerTerminating",
                    format!("pod {name} is on its way out; a new one follows"),
                ),
                keep,
            ),
            // It is deleted, and when it is gone a new one takes its name.
            Some(cause) if pod.is_over() => {
                let message = format!(
                    "pod {name} is lost ({}: {}); a new one follows",
                    cause.reason, cause.message
                );
                (false, not_ready("SchedulerLost", message), None)
            }
            _ if pod.is_ready() => {
                let message = format!("pod {name} is ready");
                (
                    true,
                    Condition::new(SCHEDULER_READY, ConditionStatus::True, "SchedulerReady", message),
                    keep,
                )
            }
            Some(cause) => {
                let message = format!("pod {name} waits: {}", cause.message);
                (true, not_ready(&cause.reason, message), keep)
            }
            None => (
                true,
                not_ready("SchedulerStarting", format!("pod {name} is starting")),
                keep,
            ),
        };
        Ok(Self {
            exists,
            condition,
            child,
            uid: Some(pod.uid),
        })
    }

    fn of_deployment(observed: &ObservedObject) -> Result<Self, Error> {
        let state: DeploymentState = observed.read()?;
        let name = &observed.key.name;
        let exists = !observed.terminating;
        let (reason, message) = match state.trouble() {
            _ if !exists => (
                "SchedulerTerminating",
                format!("Deployment {name} is on its way out; a new scheduler follows"),
            ),
            _ if state.is_ready() => ("SchedulerReady", format!("Deployment {name} is ready")),
            Some((reason, message)) => (reason, format!("Deployment {name} waits: {message}")),
            None => ("SchedulerStarting", format!("Deployment {name} is starting")),
        };
        let condition = Condition::new(
            SCHEDULER_READY,
            (exists && state.is_ready()).into(),
            reason,
            message,
        );
        Ok(Self {
            exists,
            condition,
            child: Some(DesiredChild::keep(observed)),
            uid: Some(observed.uid.clone()),
        })
    }

    fn missing(name: String, cluster: &Resource<'_>, handed_down: &Metadata, settings: &Settings) -> Self {
        let labels = metadata::scheduler_labels(cluster.name);
        let metadata = handed_down.clone().without_sidecar().reserved(&labels);
        let spec = cluster.spec["scheduler"]["spec"].clone();
        let object = settings.workload.object(&metadata, spec, &labels);
        let key = settings.workload.kind().key(name);
        let message = format!("{} {} does not exist yet", key.kind, key.name);
        Self {
            exists: false,
            condition: Condition::new(
                SCHEDULER_READY,
                ConditionStatus::False,
                "SchedulerMissing",
                message,
            ),
            child: Some(DesiredChild::create(key, object)),
            uid: None,
        }
    }

    /// Whether it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.condition.status == ConditionStatus::True
    }

    /// What to remember. A scheduler is lost when the one that was seen last is gone, or another one stands there.
    /// Losing it is counted once, because its UID is forgotten in the same breath.
    pub(crate) fn memory(&self, status: &Value) -> Memory {
        let seen = status["schedulerUid"].as_str().unwrap_or_default();
        let now = self.uid.as_deref().unwrap_or_default();
        let lost = !seen.is_empty() && seen != now;
        let restarts = status["schedulerRestarts"].as_u64().unwrap_or(0) + u64::from(lost);
        Memory {
            uid: now.to_owned(),
            restarts,
            lost,
        }
    }
}

impl Memory {
    /// The condition that stays once a scheduler was lost.
    pub(crate) fn condition(&self) -> Option<Condition> {
        let times = if self.restarts == 1 {
            "once".to_owned()
        } else {
            format!("{} times", self.restarts)
        };
        let message = format!("the scheduler was lost and replaced {times}; what it knew was lost each time");
        let condition = Condition::new(
            "SchedulerRestarted",
            ConditionStatus::True,
            "SchedulerLost",
            message,
        );
        (self.restarts > 0).then_some(condition)
    }

    /// The event at the moment when a scheduler was lost.
    pub(crate) fn event(&self) -> Option<Event> {
        let message = format!(
            "the scheduler was lost and is replaced (restart {}): tasks and results that it knew are gone, clients must \
             submit again",
            self.restarts
        );
        self.lost.then(|| Event::warning("SchedulerRestarted", message))
    }
}
