//! Comparison of the scheduler with the spec of its cluster, and the action if they differ.

use dask_operator_plugin::dask::conditions::SchedulerUpToDate;
use dask_operator_plugin::dask::fields;
use dask_operator_plugin::dask::metadata::{ANNOTATION_RESTARTED_AT, ANNOTATION_TEMPLATE_HASH};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::template::Template;

/// The result of the comparison, and the action that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Update {
    /// The template of the scheduler is unknown, or there is no scheduler.
    Unknown,
    /// The scheduler is up to date.
    Done,
    /// The scheduler is outdated and waits until a user deletes it. The value is its kind and name.
    OnDelete(String),
    /// The scheduler is outdated. It is deleted, and a new one is created when it is gone.
    Recreate,
}

impl Update {
    /// Compares an existing scheduler with its template. A scheduler without a hash was created by another release or another
    /// tool. It is left alone until a user requests a restart.
    pub(crate) fn of(
        observed: &ObservedObject,
        cluster: &Resource<'_>,
        template: &Template<'_>,
    ) -> Result<Self, Error> {
        let object: Value = observed.read()?;
        let metadata = &object["metadata"];
        let hash = metadata["annotations"][ANNOTATION_TEMPLATE_HASH].as_str();
        let time = |value: &Value| value.as_str().and_then(time::parse);
        // The clock of the user who requests a restart may differ from the API server's, which sets the creation time.
        let made_for =
            time(&metadata["annotations"][ANNOTATION_RESTARTED_AT]).or(time(&metadata["creationTimestamp"]));
        let restart_requested = template
            .restarted_at
            .zip(made_for)
            .is_some_and(|(requested, made_for)| made_for < requested);
        Ok(match hash {
            None if !restart_requested => Self::Unknown,
            Some(hash) if hash == template.hash && !restart_requested => Self::Done,
            _ if cluster.spec[fields::cluster::SCHEDULER_UPDATE] == fields::cluster::RECREATE => {
                Self::Recreate
            }
            _ => Self::OnDelete(format!("{} {}", observed.key.kind, observed.key.name)),
        })
    }

    /// Returns the condition `SchedulerUpToDate`. `None` if the template is unknown.
    pub(crate) fn condition(&self) -> Option<Condition> {
        let outdated = |reason: SchedulerUpToDate, message: String| {
            Some(reason.condition(ConditionStatus::False, message))
        };
        match self {
            Self::Unknown => None,
            Self::Done => Some(SchedulerUpToDate::UpToDate.condition(
                ConditionStatus::True,
                "the scheduler was made from the present spec",
            )),
            Self::OnDelete(what) => outdated(
                SchedulerUpToDate::OnDelete,
                format!(
                    "the scheduler was made from another spec than the present one: delete {what} or set \
                     `schedulerUpdate: Recreate`; tasks and results that it knows are lost then"
                ),
            ),
            Self::Recreate => outdated(
                SchedulerUpToDate::Recreating,
                "the scheduler is replaced by one of the present spec".to_owned(),
            ),
        }
    }

    /// Returns the event for the start of a replacement.
    pub(crate) fn event(&self, cluster: &Resource<'_>) -> Option<Event> {
        let is_new = *self == Self::Recreate && !is_recreating(cluster);
        is_new.then(|| {
            Event::normal(
                "SchedulerRecreated",
                "the scheduler is replaced because its spec has changed: tasks and results that it knew are gone, \
                 clients must submit again",
            )
        })
    }
}

/// Returns whether the status reports that the scheduler is being replaced.
pub(crate) fn is_recreating(cluster: &Resource<'_>) -> bool {
    let conditions = cluster.status["conditions"].as_array().into_iter().flatten();
    let recreating = SchedulerUpToDate::Recreating.as_str();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == SchedulerUpToDate::TYPE && condition["reason"] == recreating)
}
