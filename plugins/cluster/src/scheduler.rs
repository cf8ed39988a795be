//! The scheduler: never two at once, and a lost one is replaced and said.

use dask_operator_plugin::dask::metadata::Metadata;
use dask_operator_plugin::dask::pod::{Cause, Pod};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::workload::DeploymentState;
use dask_operator_plugin::dask::{kinds, names};
use dask_operator_plugin::prelude::*;

use crate::Settings;
use crate::template::Template;
use crate::update::Update;

/// Whether the scheduler is ready.
const SCHEDULER_READY: &str = "SchedulerReady";

/// What is known of the scheduler.
#[derive(Debug)]
pub(crate) struct Scheduler {
    /// It exists and stays.
    pub(crate) exists: bool,
    /// Whether it is ready, and why not.
    pub(crate) condition: Condition,
    /// What shall become of it; none while one has to go.
    pub(crate) child: Option<DesiredChild>,
    /// The one that exists.
    pub(crate) present: Option<Present>,
    /// Whether it is as its cluster says.
    pub(crate) update: Update,
    /// Until when its place stays empty, of one that is over.
    pub(crate) rests_until: Option<Timestamp>,
}

/// A scheduler that exists.
#[derive(Debug)]
pub(crate) struct Present {
    /// `metadata.uid` of its Pod or Deployment.
    pub(crate) uid: String,
    /// It is on its way out.
    pub(crate) terminating: bool,
    /// How often its container was started again.
    pub(crate) restarts: u64,
    /// Why it was, last time.
    pub(crate) cause: Option<Cause>,
}

fn not_ready(reason: &str, message: String) -> Condition {
    Condition::new(SCHEDULER_READY, ConditionStatus::False, reason, message)
}

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
        let observed = pod.or_else(|| observation.child(&kinds::deployment(), &name));
        let mut scheduler = match (pod, observed) {
            (Some(pod), _) => Self::of_pod(pod, observation.now)?,
            (None, Some(deployment)) => Self::of_deployment(deployment)?,
            (None, None) => Self::missing(&name, settings),
        };
        if is_suspended(cluster) {
            scheduler.exists = false;
            scheduler.condition = not_ready("Suspended", "the cluster is suspended".to_owned());
            scheduler.child = None;
            return Ok(scheduler);
        }
        let template = Template::of(cluster, handed_down);
        let Some(observed) = observed else {
            scheduler.child = Some(template.scheduler(name, settings));
            return Ok(scheduler);
        };
        if scheduler.exists {
            scheduler.update = Update::of(observed, cluster, handed_down, &template, observation.now)?;
        }
        if scheduler.update == Update::Recreate {
            let message = format!(
                "{} {name} is replaced by one of the present spec",
                observed.key.kind
            );
            scheduler.exists = false;
            scheduler.condition = not_ready("SchedulerOutdated", message);
            scheduler.child = None;
        }
        Ok(scheduler)
    }

    fn of_pod(observed: &ObservedObject, now: Timestamp) -> Result<Self, Error> {
        let pod = Pod::of(observed)?;
        let rests_until = pod.rests_until().filter(|until| *until > now && !pod.terminating);
        let name = &pod.name;
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
                (
                    false,
                    not_ready("SchedulerLost", message),
                    keep.filter(|_| rests_until.is_some()),
                )
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
        let present = Present {
            restarts: pod.restarts(),
            cause: pod.last_end(),
            terminating: pod.terminating,
            uid: pod.uid,
        };
        Ok(Self {
            exists,
            condition,
            child,
            present: Some(present),
            update: Update::Unknown,
            rests_until,
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
        // What its pods go through is its own affair.
        let present = Present {
            uid: observed.uid.clone(),
            terminating: observed.terminating,
            restarts: 0,
            cause: None,
        };
        Ok(Self {
            exists,
            condition,
            child: Some(DesiredChild::keep(observed)),
            present: Some(present),
            update: Update::Unknown,
            rests_until: None,
        })
    }

    fn missing(name: &str, settings: &Settings) -> Self {
        let kind = settings.workload.kind().kind;
        Self {
            exists: false,
            condition: not_ready("SchedulerMissing", format!("{kind} {name} does not exist yet")),
            child: None,
            present: None,
            update: Update::Unknown,
            rests_until: None,
        }
    }

    /// Whether it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.condition.status == ConditionStatus::True
    }
}

/// Whether nothing of a cluster shall run.
pub(crate) fn is_suspended(cluster: &Resource<'_>) -> bool {
    cluster.spec["suspend"] == true
}
