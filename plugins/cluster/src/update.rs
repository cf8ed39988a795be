//! Whether the scheduler is as its cluster says, and what is done when it is not.

use dask_operator_plugin::dask::metadata::{RESTARTED_AT, TEMPLATE_HASH};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::template::Template;

/// Whether the scheduler was made from what its cluster says now.
pub(crate) const SCHEDULER_UP_TO_DATE: &str = "SchedulerUpToDate";
/// Why it was not, when it is replaced.
const RECREATING: &str = "Recreating";

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Update {
    /// Nobody knows what it was made from, or there is none.
    Unknown,
    /// Nothing.
    Done,
    /// Nothing until somebody deletes it: the object, in words.
    OnDelete(String),
    /// It is deleted, and made anew when it is gone.
    Recreate,
}

impl Update {
    /// Looks at a scheduler that exists and stays. One without a hash was made by somebody else or by another release:
    /// it is left alone until somebody says that it shall be started anew.
    pub(crate) fn of(
        observed: &ObservedObject,
        cluster: &Resource<'_>,
        template: &Template<'_>,
    ) -> Result<Self, Error> {
        let object: Value = observed.read()?;
        let metadata = &object["metadata"];
        let hash = metadata["annotations"][TEMPLATE_HASH].as_str();
        let time = |value: &Value| value.as_str().and_then(time::parse);
        // The clocks of who says it and of who notes when a scheduler was made may differ.
        let made_for = time(&metadata["annotations"][RESTARTED_AT]).or(time(&metadata["creationTimestamp"]));
        let is_told = template
            .restarted_at
            .zip(made_for)
            .is_some_and(|(told, made_for)| made_for < told);
        Ok(match hash {
            None if !is_told => Self::Unknown,
            Some(hash) if hash == template.hash && !is_told => Self::Done,
            _ if cluster.spec["schedulerUpdate"] == "Recreate" => Self::Recreate,
            _ => Self::OnDelete(format!("{} {}", observed.key.kind, observed.key.name)),
        })
    }

    /// Whether it is up to date, where that is known.
    pub(crate) fn condition(&self) -> Option<Condition> {
        let outdated = |reason: &str, message: String| {
            Some(Condition::new(
                SCHEDULER_UP_TO_DATE,
                ConditionStatus::False,
                reason,
                message,
            ))
        };
        match self {
            Self::Unknown => None,
            Self::Done => Some(Condition::new(
                SCHEDULER_UP_TO_DATE,
                ConditionStatus::True,
                "UpToDate",
                "the scheduler was made from the present spec",
            )),
            Self::OnDelete(what) => outdated(
                "OnDelete",
                format!(
                    "the scheduler was made from another spec than the present one: delete {what} or set \
                     `schedulerUpdate: Recreate`; tasks and results that it knows are lost then"
                ),
            ),
            Self::Recreate => outdated(
                RECREATING,
                "the scheduler is replaced by one of the present spec".to_owned(),
            ),
        }
    }

    /// What people are told at the moment when it is replaced.
    pub(crate) fn event(&self, cluster: &Resource<'_>) -> Option<Event> {
        let is_news = *self == Self::Recreate && !is_recreating(cluster);
        is_news.then(|| {
            Event::normal(
                "SchedulerRecreated",
                "the scheduler is replaced because its spec has changed: tasks and results that it knew are gone, \
                 clients must submit again",
            )
        })
    }
}

/// Whether the status says that the scheduler is being replaced.
pub(crate) fn is_recreating(cluster: &Resource<'_>) -> bool {
    let conditions = cluster.status["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == SCHEDULER_UP_TO_DATE && condition["reason"] == RECREATING)
}
