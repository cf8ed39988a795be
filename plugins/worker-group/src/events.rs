//! What is said once: events.

use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::census::{Census, Lost, Worker};
use crate::conditions::{
    self, HOLD_DATA, NOT_ASKED, SCALE_DOWN_BLOCKED, WORKERS_UP_TO_DATE, counted, listed, names,
};
use crate::departures::{Departures, How, Why};
use crate::drain::Drain;
use crate::silence::GIVE_UP;
use crate::wanted::Wanted;

/// All that changes with a plan.
pub(crate) fn of(
    group: &Resource<'_>,
    census: &Census<'_>,
    departures: &Departures<'_, '_>,
    drain: &Drain<'_, '_>,
    conditions: &[Condition],
    wanted: &Wanted,
) -> Vec<Event> {
    let mut events: Vec<Event> = [lost(&census.lost), ended_early(census)]
        .into_iter()
        .flatten()
        .collect();
    events.extend(retiring(departures));
    events.extend(removed(departures, drain, wanted));
    let find = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_);
    if let Some(blocked) = find(SCALE_DOWN_BLOCKED)
        && blocked.reason != NOT_ASKED
        && conditions::reason(group, SCALE_DOWN_BLOCKED) != Some(blocked.reason.as_str())
    {
        events.push(Event::warning(SCALE_DOWN_BLOCKED, blocked.message.clone()));
    }
    match (
        find(WORKERS_UP_TO_DATE),
        conditions::reason(group, WORKERS_UP_TO_DATE),
    ) {
        (Some(condition), before) if condition.reason == HOLD_DATA && before != Some(HOLD_DATA) => {
            events.push(Event::warning("RolloutBlocked", condition.message.clone()));
        }
        (Some(condition), None) => events.push(Event::normal("RolloutStarted", condition.message.clone())),
        (None, Some(_)) => events.push(Event::normal("RolloutComplete", "all workers are up to date")),
        _ => {}
    }
    events
}

/// One event for all workers that are over after they have worked and are replaced now, however many.
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

/// One event for workers that end soon after their start, as long as they do so for the same reason.
fn ended_early(census: &Census<'_>) -> Option<Event> {
    let early: Vec<&Lost<'_>> = census.lost.iter().filter(|lost| lost.early.is_some()).collect();
    let first = early.first().filter(|_| census.backoff_is_news)?;
    let until = census.rests_until.map(time::format);
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

/// One event for each reason to leave.
fn retiring(departures: &Departures<'_, '_>) -> Vec<Event> {
    let event = |why: Why| {
        let marked = departures
            .all
            .iter()
            .filter(|(_, how, because)| *how == How::Marked && *because == why);
        let marked: Vec<&Worker<'_>> = marked.map(|(worker, _, _)| *worker).collect();
        let because = match why {
            Why::Surplus => "more than wanted",
            Why::Outdated => "of an older template",
            Why::Notice => marked.first()?.notice.as_deref()?,
        };
        let message = format!(
            "{} told to hand on all results and leave ({because}): {}",
            counted(marked.len(), "worker"),
            names(&marked)
        );
        let event = match why {
            Why::Notice => Event::warning("WorkersRetiring", message),
            Why::Surplus | Why::Outdated => Event::normal("WorkersRetiring", message),
        };
        (!marked.is_empty()).then_some(event)
    };
    [Why::Notice, Why::Surplus, Why::Outdated]
        .into_iter()
        .filter_map(event)
        .collect()
}

/// Who is deleted after it was told to leave.
fn removed(departures: &Departures<'_, '_>, drain: &Drain<'_, '_>, wanted: &Wanted) -> Vec<Event> {
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
            time::span(wanted.drain_timeout),
            names(&drain.overdue)
        );
        events.push(Event::warning("DrainTimeout", message));
    }
    let unsafely: Vec<&Worker<'_>> = drain
        .unsafely
        .iter()
        .copied()
        .chain(departures.by(How::DeletedUnsafely))
        .collect();
    if !unsafely.is_empty() {
        let message = format!(
            "{} deleted with all results held there, because the scheduler could not be asked for {} and `scaleDown` is \
             `unsafe`: {}",
            counted(unsafely.len(), "worker"),
            time::span(GIVE_UP),
            names(&unsafely)
        );
        events.push(Event::warning("UnsafeScaleDown", message));
    }
    events
}
