//! The events of a plan, each of which is reported once.

use dask_operator_plugin::dask::conditions::{ScaleDownBlocked, WorkersUpToDate};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::conditions::{self, counted, listed, names};
use crate::desired::Desired;
use crate::drain::Drain;
use crate::observed::{Lost, ObservedWorkers, Worker};
use crate::removals::{RemovalMode, RemovalReason, Removals};
use crate::silence::OUTAGE_TIMEOUT;

/// Returns the events for all changes in a plan.
pub(crate) fn of(
    group: &Resource<'_>,
    observed_workers: &ObservedWorkers<'_>,
    removals: &Removals<'_, '_>,
    drain: &Drain<'_, '_>,
    conditions: &[Condition],
    desired: &Desired,
) -> Vec<Event> {
    let mut events: Vec<Event> = [lost(&observed_workers.lost), ended_early(observed_workers)]
        .into_iter()
        .flatten()
        .collect();
    events.extend(retiring(removals));
    events.extend(removed(removals, drain, desired));
    let find = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_);
    if let Some(blocked) = find(ScaleDownBlocked::TYPE)
        && blocked.reason != ScaleDownBlocked::SchedulerNotAsked.as_str()
        && conditions::reason(group, ScaleDownBlocked::TYPE) != Some(blocked.reason.as_str())
    {
        events.push(Event::warning(ScaleDownBlocked::TYPE, blocked.message.clone()));
    }
    let hold_data = WorkersUpToDate::WorkersHoldData.as_str();
    match (
        find(WorkersUpToDate::TYPE),
        conditions::reason(group, WorkersUpToDate::TYPE),
    ) {
        (Some(condition), before) if condition.reason == hold_data && before != Some(hold_data) => {
            events.push(Event::warning("RolloutBlocked", condition.message.clone()));
        }
        (Some(condition), None) => events.push(Event::normal("RolloutStarted", condition.message.clone())),
        (None, Some(_)) => events.push(Event::normal("RolloutComplete", "all workers are up to date")),
        _ => {}
    }
    events
}

/// Returns one event for all workers that ended after they had worked and are replaced now.
fn lost(lost: &[Lost<'_>]) -> Option<Event> {
    let lost: Vec<&Lost<'_>> = lost.iter().filter(|lost| lost.early.is_none()).collect();
    let first = lost.first()?;
    let message = format!(
        "{} lost and will be replaced ({}): {}",
        counted(lost.len(), "worker"),
        first.cause,
        listed(lost.iter().map(|lost| lost.observed.key.name.as_str()))
    );
    Some(Event::warning("WorkerLost", message))
}

/// Returns one event for workers that end soon after their start, as long as the reason does not change.
fn ended_early(observed_workers: &ObservedWorkers<'_>) -> Option<Event> {
    let early: Vec<&Lost<'_>> = observed_workers
        .lost
        .iter()
        .filter(|lost| lost.early.is_some())
        .collect();
    let first = early.first().filter(|_| observed_workers.backoff_is_new)?;
    let until = observed_workers.backoff_until.map(time::format);
    let when = until.map_or_else(|| "now".to_owned(), |until| format!("at {until}"));
    let (who, are) = match early.len() {
        1 => ("1 worker ended soon after its start".to_owned(), "is"),
        count => (format!("{count} workers ended soon after their start"), "are"),
    };
    let message = format!(
        "{who} ({}) and {are} replaced {when}, and later each time that it happens again: {}",
        first.cause,
        listed(early.iter().map(|lost| lost.observed.key.name.as_str()))
    );
    Some(Event::warning("WorkerLost", message))
}

/// Returns one event for each reason to leave.
fn retiring(removals: &Removals<'_, '_>) -> Vec<Event> {
    let event = |reason: RemovalReason| {
        let marked = removals
            .all
            .iter()
            .filter(|(_, mode, because)| *mode == RemovalMode::Marked && *because == reason);
        let marked: Vec<&Worker<'_>> = marked.map(|(worker, _, _)| *worker).collect();
        let because = match reason {
            RemovalReason::Surplus => "more than wanted",
            RemovalReason::Outdated => "of an older template",
            RemovalReason::Disruption => marked.first()?.disruption.as_deref()?,
        };
        let message = format!(
            "{} told to hand on all results and leave ({because}): {}",
            counted(marked.len(), "worker"),
            names(&marked)
        );
        let event = match reason {
            RemovalReason::Disruption => Event::warning("WorkersRetiring", message),
            RemovalReason::Surplus | RemovalReason::Outdated => Event::normal("WorkersRetiring", message),
        };
        (!marked.is_empty()).then_some(event)
    };
    [
        RemovalReason::Disruption,
        RemovalReason::Surplus,
        RemovalReason::Outdated,
    ]
    .into_iter()
    .filter_map(event)
    .collect()
}

/// Returns the events for retiring workers that are deleted, and for workers that are deleted with their results.
fn removed(removals: &Removals<'_, '_>, drain: &Drain<'_, '_>, desired: &Desired) -> Vec<Event> {
    let mut events = Vec::new();
    if !drain.done.is_empty() {
        let message = format!(
            "{} deleted after all results have left: {}",
            counted(drain.done.len(), "worker"),
            names(&drain.done)
        );
        events.push(Event::normal("WorkersRetired", message));
    }
    if !drain.overdue.is_empty() {
        let message = format!(
            "{} deleted with all results held there, which could not be handed on within {}: {}",
            counted(drain.overdue.len(), "worker"),
            time::span(desired.drain_timeout),
            names(&drain.overdue)
        );
        events.push(Event::warning("DrainTimeout", message));
    }
    let unsafely: Vec<&Worker<'_>> = drain
        .unsafely
        .iter()
        .copied()
        .chain(removals.by(RemovalMode::DeletedUnsafely))
        .collect();
    if !unsafely.is_empty() {
        let message = format!(
            "{} deleted with all results held there, because the scheduler could not be asked for {} and `scaleDown` is \
             `unsafe`: {}",
            counted(unsafely.len(), "worker"),
            time::span(OUTAGE_TIMEOUT),
            names(&unsafely)
        );
        events.push(Event::warning("UnsafeScaleDown", message));
    }
    events
}
