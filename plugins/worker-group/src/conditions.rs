//! What is said about a group: its conditions.

use dask_operator_plugin::dask::resource::{MOST_WORKERS, Resource};
use dask_operator_plugin::dask::update::Strategy;
use dask_operator_plugin::dask::{quantity, time};
use dask_operator_plugin::prelude::*;

use crate::census::{Census, Worker};
use crate::departures::{Departures, How, Why};
use crate::drain::Drain;
use crate::roster::Scheduler;
use crate::wanted::Wanted;

/// Whether as many workers are ready as the group shall have.
pub(crate) const WORKERS_READY: &str = "WorkersReady";
/// Workers that shall leave are held back.
pub(crate) const SCALE_DOWN_BLOCKED: &str = "ScaleDownBlocked";
/// Whether all workers are of the present template; only while they are not.
pub(crate) const WORKERS_UP_TO_DATE: &str = "WorkersUpToDate";

/// They are held back because the scheduler does not answer.
pub(crate) const UNREACHABLE: &str = "SchedulerUnreachable";
/// They are held back until the scheduler was asked.
pub(crate) const NOT_ASKED: &str = "SchedulerNotAsked";
/// They can't hand on what they hold.
pub(crate) const HOLD_DATA: &str = "WorkersHoldData";
/// Only workers that are drained before they are replaced are missing.
const RETIRING: &str = "WorkersRetiring";

/// A pod waits until scheduling gates are taken off.
const GATED: &str = "SchedulingGated";

/// How many names a sentence holds.
const NAMED: usize = 3;

/// A condition that the group has now.
fn present<'a>(group: &Resource<'a>, type_: &str) -> Option<&'a Value> {
    let conditions = group.status["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)
}

/// The reason of a condition that the group has now.
pub(crate) fn reason<'a>(group: &Resource<'a>, type_: &str) -> Option<&'a str> {
    present(group, type_)?["reason"].as_str()
}

/// A condition that the group has because the scheduler does not answer. It stands until that was asked again: whoever
/// has just started knows no better.
fn unreachable_before(group: &Resource<'_>, type_: &str, scheduler: Scheduler<'_>) -> Option<Condition> {
    let condition = present(group, type_)?;
    let stands = matches!(scheduler, Scheduler::NotAsked) && condition["reason"] == UNREACHABLE;
    let message = condition["message"].as_str().filter(|_| stands)?;
    Some(Condition::new(
        type_,
        (condition["status"] == "True").into(),
        UNREACHABLE,
        message,
    ))
}

/// Whether as many workers are ready as there shall be. `created` is how many are about to be created.
pub(crate) fn workers_ready(
    group: &Resource<'_>,
    census: &Census<'_>,
    desired: usize,
    created: usize,
) -> Condition {
    let ready = census.ready();
    let counted = match ready > desired {
        true => format!("{ready} workers are ready, {desired} are wanted"),
        false => format!("{ready} of {desired} workers are ready"),
    };
    if ready >= desired {
        return Condition::new(WORKERS_READY, ConditionStatus::True, "AllReady", counted);
    }
    if desired > MOST_WORKERS {
        let message = format!(
            "{counted}; a group can have {MOST_WORKERS} workers: lower spec.worker.replicas, and make further groups for the rest"
        );
        return Condition::new(WORKERS_READY, ConditionStatus::False, "TooManyWorkers", message);
    }
    match census.trouble() {
        Some((count, cause)) => {
            let mut message = format!("{counted}; {count} wait: {} ({})", cause.reason, cause.message);
            if cause.reason == GATED {
                message += &gates(group);
            }
            if let Some(until) = census.rests_until.filter(|_| census.resting().next().is_some()) {
                message += &format!("; those that have ended are replaced at {}", time::format(until));
            }
            Condition::new(WORKERS_READY, ConditionStatus::False, &cause.reason, message)
        }
        None if created == 0 && census.starting() == 0 && !census.leaving.is_empty() => {
            let leaving: Vec<&Worker<'_>> = census.leaving.iter().collect();
            let message = format!(
                "{counted}; {} being drained, and replaced after that: {}",
                self::counted(leaving.len(), "worker"),
                names(&leaving)
            );
            Condition::new(WORKERS_READY, ConditionStatus::False, RETIRING, message)
        }
        None => Condition::new(WORKERS_READY, ConditionStatus::False, "WorkersStarting", counted),
    }
}

/// The scheduling gates that the group's own spec has, as part of a sentence. Others may have added more.
fn gates(group: &Resource<'_>) -> String {
    let gates = group.spec["worker"]["spec"]["schedulingGates"].as_array();
    let names: Vec<&str> = gates
        .into_iter()
        .flatten()
        .filter_map(|gate| gate["name"].as_str())
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; gates of its spec: {}", listed(names.into_iter())),
    }
}

/// Who is held back, and why; none while nobody is.
pub(crate) fn scale_down_blocked(
    group: &Resource<'_>,
    departures: &Departures<'_, '_>,
    drain: &Drain<'_, '_>,
    scheduler: Scheduler<'_>,
    wanted: &Wanted,
) -> Option<Condition> {
    let blocked = |reason, message| {
        Some(Condition::new(
            SCALE_DOWN_BLOCKED,
            ConditionStatus::True,
            reason,
            message,
        ))
    };
    let held = departures.held + drain.staying.len();
    if held > 0
        && let Some(before) = unreachable_before(group, SCALE_DOWN_BLOCKED, scheduler)
    {
        return Some(before);
    }
    match scheduler {
        Scheduler::Unreachable(why) if held > 0 => {
            let otherwise = match wanted.silence {
                Some(silence) => format!(
                    "at {} they are deleted all the same (`scaleDown: unsafe`)",
                    time::format(silence.ends())
                ),
                None => "with `scaleDown: unsafe` they would be deleted all the same".to_owned(),
            };
            blocked(
                UNREACHABLE,
                format!(
                    "{} to leave and held back, because results that nobody else has may be lost and the scheduler \
                     can't be asked to move them: {}; {otherwise}",
                    counted(held, "worker"),
                    short(why)
                ),
            )
        }
        Scheduler::NotAsked if departures.held > 0 => blocked(
            NOT_ASKED,
            format!(
                "{} to leave and held back until the scheduler was asked who holds what",
                counted(departures.held, "worker")
            ),
        ),
        _ => not_taken(&departures.waiting(Why::Surplus))
            .or_else(|| stuck(&drain.stuck(wanted, false), wanted))
            .and_then(|message| blocked(HOLD_DATA, message)),
    }
}

/// Says who holds results that no other worker can take.
fn not_taken(waiting: &[&Worker<'_>]) -> Option<String> {
    let names = (!waiting.is_empty()).then(|| names(waiting))?;
    Some(format!(
        "{} to leave and held back, because no other worker can take the results: {names}; to keep them, add a worker \
         or fetch them; to lose them, delete the pod",
        counted(waiting.len(), "worker"),
    ))
}

/// Says who can't hand on what it holds. The sentence changes when something changes, and not because time goes by: each
/// sentence is a write.
fn stuck(stuck: &[(&Worker<'_>, Timestamp)], wanted: &Wanted) -> Option<String> {
    let first = stuck.iter().map(|(_, since)| *since).min()?;
    let stuck: Vec<&Worker<'_>> = stuck.iter().map(|(worker, _)| *worker).collect();
    let registered = stuck.iter().flat_map(|worker| worker.standing.registered());
    let bytes: u64 = registered.map(|worker| worker.managed_bytes).sum();
    let end = match stuck.iter().any(|worker| wanted.keeps_results(worker)) {
        true => "; to lose them, delete the pod".to_owned(),
        false => format!(
            ", and what is still there at {} is lost",
            time::format(first.saturating_add(wanted.drain_timeout))
        ),
    };
    Some(format!(
        "{} to leave and could not hand on all results ({}) since {}: {}; more workers or more memory would take them{end}",
        counted(stuck.len(), "worker"),
        quantity::bytes(bytes),
        time::format(first),
        names(&stuck),
    ))
}

/// How far a new template is rolled out; none where all workers are of it.
pub(crate) fn workers_up_to_date(
    group: &Resource<'_>,
    census: &Census<'_>,
    departures: &Departures<'_, '_>,
    drain: &Drain<'_, '_>,
    wanted: &Wanted,
    scheduler: Scheduler<'_>,
) -> Option<Condition> {
    let leaving = census
        .leaving
        .iter()
        .filter(|worker| wanted.is_outdated(worker))
        .count();
    if departures.outdated + leaving == 0 {
        return None;
    }
    if let Some(before) = unreachable_before(group, WORKERS_UP_TO_DATE, scheduler) {
        return Some(before);
    }
    let updated = census.workers.iter().filter(|worker| !wanted.is_outdated(worker));
    let waiting = updated.clone().filter(|worker| !worker.available()).count();
    let counted = format!(
        "{} of {} workers are up to date",
        updated.count(),
        wanted.replicas
    );
    let trouble = || {
        let trouble = census.trouble().map(|(_, cause)| format!(": {cause}"));
        trouble.unwrap_or_default()
    };
    let held_up = stuck(&drain.stuck(wanted, true), wanted);
    let (reason, message) = match (wanted.strategy, scheduler) {
        (Strategy::OnDelete, _) => (
            "OnDelete",
            format!(
                "{counted}; the others are replaced when somebody deletes their pods (update strategy OnDelete)"
            ),
        ),
        (Strategy::Rolling { .. }, Scheduler::Unreachable(why))
            if departures.by(How::DeletedUnsafely).next().is_none() =>
        {
            let why = short(why);
            (
                UNREACHABLE,
                format!(
                    "{counted}; the others stay while the scheduler can't be asked to move what they hold: {why}"
                ),
            )
        }
        (Strategy::Rolling { .. }, _) if held_up.is_some() => {
            let held_up = held_up.unwrap_or_default();
            let waiting = match waiting {
                0 => String::new(),
                count => format!(
                    "; {} not ready yet{}",
                    self::counted(count, "new worker"),
                    trouble()
                ),
            };
            (HOLD_DATA, format!("{counted}; {held_up}{waiting}"))
        }
        (Strategy::Rolling { .. }, _) if waiting > 0 && leaving == 0 && departures.all.is_empty() => {
            let waiting = self::counted(waiting, "new worker");
            (
                "RollingUpdate",
                format!(
                    "{counted}; {waiting} waited for before others are replaced{}",
                    trouble()
                ),
            )
        }
        (Strategy::Rolling { .. }, _) => ("RollingUpdate", counted),
    };
    Some(Condition::new(
        WORKERS_UP_TO_DATE,
        ConditionStatus::False,
        reason,
        message,
    ))
}

/// `1 worker is`, `2 workers are`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what} is")
    } else {
        format!("{count} {what}s are")
    }
}

/// The first names, and that there are more.
pub(crate) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len() > NAMED;
    let mut listed: Vec<&str> = names.take(NAMED).collect();
    if more {
        listed.push("…");
    }
    listed.join(", ")
}

/// The names of workers.
pub(crate) fn names(workers: &[&Worker<'_>]) -> String {
    listed(workers.iter().map(|worker| worker.name()))
}

/// Somebody else's words, so many that a sentence can hold them.
fn short(words: &str) -> String {
    const MOST: usize = 300;
    match words.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}
