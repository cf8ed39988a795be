//! What the status remembers of schedulers: which one was seen last, and how often one was started anew.

use dask_operator_plugin::dask::backoff::Backoff;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::prelude::*;

use crate::scheduler::Present;
use crate::update;

/// What the status says of schedulers after this plan.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// The scheduler that was seen last; empty after it was lost.
    pub(crate) uid: String,
    /// How often one was started anew: replaced, or its container started again.
    pub(crate) restarts: u64,
    /// How often the container of the one that was seen last was.
    pub(crate) of_container: u64,
    /// What is remembered of schedulers that ended soon after their start.
    pub(crate) backoff: Option<Backoff>,
    /// What happened since the status was written.
    pub(crate) event: Option<Event>,
}

impl Memory {
    /// Counts. A scheduler is lost when the one that was seen last is gone, or another one stands there. Losing it is
    /// counted once, because its UID is forgotten in the same breath; restarts of its container are, because their
    /// number is remembered.
    pub(crate) fn of(cluster: &Resource<'_>, present: Option<&Present>, suspended: bool) -> Self {
        let status = cluster.status;
        let number = |field: &str| status[field].as_u64().unwrap_or(0);
        let seen = status["schedulerUid"].as_str().unwrap_or_default();
        let mut memory = Self {
            restarts: number("schedulerRestarts"),
            ..Self::default()
        };
        if suspended {
            return memory;
        }
        // One that is on its way out and was not seen before was stopped on purpose.
        let present = present.filter(|present| !present.terminating || present.uid == seen);
        // Its end was told when it came.
        let is_told = Backoff::after(status, [], 0).is_some_and(|(backoff, _)| backoff.is_of(seen));
        let (mut replaced, mut restarted) = (false, None);
        match present {
            Some(present) if present.uid == seen => {
                let known = number("schedulerContainerRestarts");
                memory.of_container = present.restarts.max(known);
                restarted = (present.restarts > known).then_some(present);
                memory.restarts += present.restarts.saturating_sub(known);
            }
            present => {
                replaced = !seen.is_empty();
                memory.restarts += u64::from(replaced);
                if let Some(present) = present {
                    memory.of_container = present.restarts;
                    memory.restarts += present.restarts;
                    restarted = (present.restarts > 0).then_some(present);
                }
            }
        }
        memory.uid = present.map(|present| present.uid.clone()).unwrap_or_default();
        let what = match restarted {
            Some(Present {
                cause: Some(cause), ..
            }) => {
                format!(
                    "container was started again (restart {}; {}: {})",
                    memory.restarts, cause.reason, cause.message
                )
            }
            Some(_) => format!("container was started again (restart {})", memory.restarts),
            None => String::new(),
        };
        let message = match (replaced && !is_told && !update::is_recreating(cluster), restarted) {
            (_, Some(_)) => Some(format!("the scheduler's {what}")),
            (true, None) => Some(format!(
                "the scheduler was lost and is replaced (restart {})",
                memory.restarts
            )),
            (false, None) => None,
        };
        memory.event = message.map(|message| {
            Event::warning(
                "SchedulerRestarted",
                format!("{message}: tasks and results that it knew are gone, clients must submit again"),
            )
        });
        memory
    }

    /// Puts it into a status.
    pub(crate) fn write(&self, status: &mut Value) {
        if !self.uid.is_empty() {
            status["schedulerUid"] = json!(self.uid);
        }
        if let Some(backoff) = &self.backoff {
            backoff.write(status);
        }
        let numbers = [
            ("schedulerRestarts", self.restarts),
            ("schedulerContainerRestarts", self.of_container),
        ];
        for (field, number) in numbers {
            if number > 0 {
                status[field] = json!(number);
            }
        }
    }

    /// The condition that stays once a scheduler was started anew.
    pub(crate) fn condition(&self) -> Option<Condition> {
        let times = if self.restarts == 1 {
            "once".to_owned()
        } else {
            format!("{} times", self.restarts)
        };
        let message = format!("the scheduler was started anew {times}; what it knew was lost each time");
        let condition = Condition::new(
            "SchedulerRestarted",
            ConditionStatus::True,
            "SchedulerLost",
            message,
        );
        (self.restarts > 0).then_some(condition)
    }
}
