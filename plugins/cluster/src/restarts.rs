//! The scheduler history in the status: the last observed scheduler, and the number of restarts.

use dask_operator_plugin::dask::backoff::PodBackoff;
use dask_operator_plugin::dask::conditions::SchedulerRestarted;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::prelude::*;

use crate::scheduler::Present;
use crate::update;

/// The scheduler history after a plan.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SchedulerHistory {
    /// UID of the last observed scheduler. Empty after it was lost.
    pub(crate) uid: String,
    /// Number of restarts: replacements of the scheduler and restarts of its container.
    pub(crate) restarts: u64,
    /// Number of container restarts of the last observed scheduler.
    pub(crate) container_restarts: u64,
    /// Back-off for schedulers that ended soon after their start. `None` without such schedulers.
    pub(crate) backoff: Option<PodBackoff>,
    /// Event for a restart that the status does not contain yet.
    pub(crate) event: Option<Event>,
}

impl SchedulerHistory {
    /// Updates the history in the status. A scheduler is lost if the last observed one is gone or if another one has its
    /// name. A loss is counted once, because the same plan removes its UID from the status. Restarts of the container are
    /// counted once, because the status stores their number.
    pub(crate) fn of(cluster: &Resource<'_>, present: Option<&Present>, suspended: bool) -> Self {
        let status = cluster.status;
        let number = |field: &str| status[field].as_u64().unwrap_or(0);
        let seen = status["schedulerUid"].as_str().unwrap_or_default();
        let mut history = Self {
            restarts: number("schedulerRestarts"),
            ..Self::default()
        };
        if suspended {
            return history;
        }
        // A scheduler that is being deleted and was not seen before was stopped on purpose.
        let present = present.filter(|present| !present.terminating || present.uid == seen);
        // The end of this scheduler was already reported when it happened.
        let is_reported = PodBackoff::after(status, [], 0).is_some_and(|(backoff, _)| backoff.is_of(seen));
        let (mut replaced, mut restarted) = (false, None);
        match present {
            Some(present) if present.uid == seen => {
                let known = number("schedulerContainerRestarts");
                history.container_restarts = present.restarts.max(known);
                restarted = (present.restarts > known).then_some(present);
                history.restarts += present.restarts.saturating_sub(known);
            }
            present => {
                replaced = !seen.is_empty();
                history.restarts += u64::from(replaced);
                if let Some(present) = present {
                    history.container_restarts = present.restarts;
                    history.restarts += present.restarts;
                    restarted = (present.restarts > 0).then_some(present);
                }
            }
        }
        history.uid = present.map(|present| present.uid.clone()).unwrap_or_default();
        let what = match restarted {
            Some(Present {
                cause: Some(cause), ..
            }) => {
                format!(
                    "container was started again (restart {}; {}: {})",
                    history.restarts, cause.reason, cause.message
                )
            }
            Some(_) => format!("container was started again (restart {})", history.restarts),
            None => String::new(),
        };
        let message = match (
            replaced && !is_reported && !update::is_recreating(cluster),
            restarted,
        ) {
            (_, Some(_)) => Some(format!("the scheduler's {what}")),
            (true, None) => Some(format!(
                "the scheduler was lost and is replaced (restart {})",
                history.restarts
            )),
            (false, None) => None,
        };
        history.event = message.map(|message| {
            Event::warning(
                SchedulerRestarted::TYPE,
                format!("{message}: tasks and results that it knew are gone, clients must submit again"),
            )
        });
        history
    }

    /// Writes the history to a status.
    pub(crate) fn write(&self, status: &mut Value) {
        if !self.uid.is_empty() {
            status["schedulerUid"] = json!(self.uid);
        }
        if let Some(backoff) = &self.backoff {
            backoff.write(status);
        }
        let numbers = [
            ("schedulerRestarts", self.restarts),
            ("schedulerContainerRestarts", self.container_restarts),
        ];
        for (field, number) in numbers {
            if number > 0 {
                status[field] = json!(number);
            }
        }
    }

    /// Returns the condition `SchedulerRestarted`, which stays after the first restart. `None` before it.
    pub(crate) fn condition(&self) -> Option<Condition> {
        let times = if self.restarts == 1 {
            "once".to_owned()
        } else {
            format!("{} times", self.restarts)
        };
        let message = format!("the scheduler was started anew {times}; what it knew was lost each time");
        let condition = SchedulerRestarted::SchedulerLost.condition(ConditionStatus::True, message);
        (self.restarts > 0).then_some(condition)
    }
}
