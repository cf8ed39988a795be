//! The scheduler: at most one exists at a time, and a lost one is replaced and reported.

use dask_operator_plugin::dask::backoff::{EarlyEnd, PodBackoff};
use dask_operator_plugin::dask::conditions::SchedulerReady;
use dask_operator_plugin::dask::metadata::{ANNOTATION_TEMPLATE_HASH, Metadata};
use dask_operator_plugin::dask::pod::{Cause, Pod};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::workload::DeploymentState;
use dask_operator_plugin::dask::{fields, kinds, names, time};
use dask_operator_plugin::prelude::*;

use crate::Settings;
use crate::template::Template;
use crate::update::Update;

/// The state of the scheduler, and the desired one.
#[derive(Debug)]
pub(crate) struct Scheduler {
    /// True if it exists and is not being replaced or deleted.
    pub(crate) exists: bool,
    /// The condition `SchedulerReady`.
    pub(crate) condition: Condition,
    /// The desired child. `None` while the present scheduler must be deleted.
    pub(crate) child: Option<DesiredChild>,
    /// The scheduler that exists, if any.
    pub(crate) present: Option<Present>,
    /// The result of the comparison with the cluster's spec.
    pub(crate) update: Update,
    /// Back-off for schedulers that ended soon after their start. `None` without such schedulers.
    pub(crate) backoff: Option<PodBackoff>,
    /// Time of the next reconcile, for changes that only time brings.
    pub(crate) requeue_at: Option<Timestamp>,
    /// Event for an early end or a stuck deletion that was not reported yet.
    pub(crate) event: Option<Event>,
}

/// A scheduler that exists.
#[derive(Debug)]
pub(crate) struct Present {
    /// `metadata.uid` of its Pod or Deployment.
    pub(crate) uid: String,
    /// True if it is being deleted.
    pub(crate) terminating: bool,
    /// Start time of its container, if known.
    pub(crate) started: Option<Timestamp>,
    /// Number of restarts of its container.
    pub(crate) restarts: u64,
    /// Cause of its container's last end, if known.
    pub(crate) cause: Option<Cause>,
}

fn not_ready(reason: SchedulerReady, message: String) -> Condition {
    reason.condition(ConditionStatus::False, message)
}

/// Returns the condition of a scheduler that waits for this cause.
fn waiting(cause: &Cause, message: String) -> Condition {
    Condition::new(
        SchedulerReady::TYPE,
        ConditionStatus::False,
        &cause.reason,
        message,
    )
}

impl Scheduler {
    /// Reads the scheduler of a cluster (after defaulting) and determines the desired one.
    pub(crate) fn of(
        observation: &Observation,
        cluster: &Resource<'_>,
        inherited: &Metadata,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let name = names::scheduler(cluster.name);
        let pod = observation.child(&kinds::pod(), &name);
        let observed = pod.or_else(|| observation.child(&kinds::deployment(), &name));
        let template = Template::of(cluster, inherited, observation.now);
        let mut scheduler = match (pod, observed) {
            (Some(pod), _) => Self::of_pod(pod, cluster.status, &template, observation.now)?,
            (None, Some(deployment)) => Self::of_deployment(deployment)?,
            (None, None) => Self::missing(&name, settings),
        };
        if is_suspended(cluster) {
            scheduler.exists = false;
            scheduler.condition = not_ready(SchedulerReady::Suspended, "the cluster is suspended".to_owned());
            scheduler.child = None;
            return Ok(scheduler);
        }
        let Some(observed) = observed else {
            scheduler.backoff =
                PodBackoff::after(cluster.status, [], observation.now).map(|(backoff, _)| backoff);
            scheduler.child = Some(template.scheduler(name, settings));
            return Ok(scheduler);
        };
        if scheduler.exists {
            scheduler.update = Update::of(observed, cluster, &template)?;
            // Labels of Deployments are left alone, because a Deployment replaces its pod for other labels.
            if let Some(pod) = pod {
                let metadata = template.changeable_metadata();
                scheduler.child = Some(Pod::of(pod)?.kept_with(pod, &metadata));
            }
        }
        if scheduler.update == Update::Recreate {
            let message = format!(
                "{} {name} is replaced by one of the present spec",
                observed.key.kind
            );
            scheduler.exists = false;
            scheduler.condition = not_ready(SchedulerReady::SchedulerOutdated, message);
            scheduler.child = None;
        }
        Ok(scheduler)
    }

    fn of_pod(
        observed: &ObservedObject,
        status: &Value,
        template: &Template<'_>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let pod = Pod::of(observed)?;
        // For other templates the back-off does not apply, because the present one may fix the problem.
        let is_present = pod
            .annotation(ANNOTATION_TEMPLATE_HASH)
            .is_none_or(|hash| hash == template.hash);
        let early = EarlyEnd::of(&pod).filter(|_| is_present && !pod.terminating);
        let (backoff, is_news) = PodBackoff::after(status, &early, now).unzip();
        let rests_until = backoff
            .as_ref()
            .filter(|_| early.is_some())
            .and_then(|backoff| backoff.rests_until(now));
        let stuck = pod.stuck(now).map(|stuck| {
            format!("{stuck}; a new scheduler follows then and not before, because two would run otherwise")
        });
        let is_stuck = stuck.is_some();
        let event = early.as_ref().filter(|_| is_news == Some(true)).map(|early| {
            let when = rests_until.map_or_else(|| "now".to_owned(), |until| format!("at {}", time::format(until)));
            let message = format!(
                "the scheduler ended soon after its start ({}) and is replaced {when}, and later each time that it happens again",
                early.cause
            );
            Event::warning("SchedulerLost", message)
        });
        let name = &pod.name;
        let keep = Some(DesiredChild::keep(observed));
        let (exists, condition, child) = match pod.trouble(now) {
            _ if is_stuck => (
                false,
                not_ready(SchedulerReady::SchedulerStuck, stuck.unwrap_or_default()),
                keep,
            ),
            _ if pod.terminating => (
                false,
                not_ready(
                    SchedulerReady::SchedulerTerminating,
                    format!("pod {name} is on its way out; a new one follows"),
                ),
                keep,
            ),
            // The pod is deleted. A new one takes its name once it is gone.
            Some(cause) if pod.is_over() => {
                let when = rests_until.map(|until| format!(" at {}", time::format(until)));
                let message = format!(
                    "pod {name} is lost ({}: {}); a new one follows{}",
                    cause.reason,
                    cause.message,
                    when.unwrap_or_default()
                );
                (
                    false,
                    not_ready(SchedulerReady::SchedulerLost, message),
                    keep.filter(|_| rests_until.is_some()),
                )
            }
            _ if pod.is_ready() => {
                let message = format!("pod {name} is ready");
                (
                    true,
                    SchedulerReady::SchedulerReady.condition(ConditionStatus::True, message),
                    keep,
                )
            }
            Some(cause) => {
                let message = format!("pod {name} waits: {}", cause.message);
                (true, waiting(&cause, message), keep)
            }
            None => (
                true,
                not_ready(
                    SchedulerReady::SchedulerStarting,
                    format!("pod {name} is starting"),
                ),
                keep,
            ),
        };
        let stuck_reason = SchedulerReady::SchedulerStuck.as_str();
        let was_stuck = status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|before| before["type"] == SchedulerReady::TYPE && before["reason"] == stuck_reason);
        let event = match is_stuck && !was_stuck {
            true => Some(Event::warning(stuck_reason, condition.message.clone())),
            false => event,
        };
        let requeue_at = rests_until.or_else(|| pod.look_again_at(now));
        let present = Present {
            started: pod.started(),
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
            backoff,
            requeue_at,
            event,
        })
    }

    fn of_deployment(observed: &ObservedObject) -> Result<Self, Error> {
        let state: DeploymentState = observed.read()?;
        let name = &observed.key.name;
        let exists = !observed.terminating;
        let condition = match state.trouble() {
            _ if !exists => not_ready(
                SchedulerReady::SchedulerTerminating,
                format!("Deployment {name} is on its way out; a new scheduler follows"),
            ),
            _ if state.is_ready() => SchedulerReady::SchedulerReady
                .condition(ConditionStatus::True, format!("Deployment {name} is ready")),
            Some(cause) => waiting(&cause, format!("Deployment {name} waits: {}", cause.message)),
            None => not_ready(
                SchedulerReady::SchedulerStarting,
                format!("Deployment {name} is starting"),
            ),
        };
        // A Deployment manages the restarts of its pods itself.
        let present = Present {
            uid: observed.uid.clone(),
            terminating: observed.terminating,
            started: None,
            restarts: 0,
            cause: None,
        };
        Ok(Self {
            exists,
            condition,
            child: Some(DesiredChild::keep(observed)),
            present: Some(present),
            update: Update::Unknown,
            backoff: None,
            requeue_at: None,
            event: None,
        })
    }

    fn missing(name: &str, settings: &Settings) -> Self {
        let kind = settings.workload.kind().kind;
        Self {
            exists: false,
            condition: not_ready(
                SchedulerReady::SchedulerMissing,
                format!("{kind} {name} does not exist yet"),
            ),
            child: None,
            present: None,
            update: Update::Unknown,
            backoff: None,
            requeue_at: None,
            event: None,
        }
    }

    /// Returns whether the scheduler is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.condition.status == ConditionStatus::True
    }
}

/// Returns whether a cluster is suspended, so that none of its pods may run.
pub(crate) fn is_suspended(cluster: &Resource<'_>) -> bool {
    cluster.spec[fields::cluster::SUSPEND] == true
}
