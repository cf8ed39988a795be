//! The conditions of a group.

use dask_operator_plugin::dask::conditions::{ScaleDownBlocked, WorkersReady, WorkersUpToDate};
use dask_operator_plugin::dask::resource::{MOST_WORKERS, Resource};
use dask_operator_plugin::dask::update::Strategy;
use dask_operator_plugin::dask::{fields, quantity, time};
use dask_operator_plugin::prelude::*;

use crate::desired::Desired;
use crate::drain::Drain;
use crate::observed::{ObservedWorkers, Worker};
use crate::registration::Scheduler;
use crate::removals::{RemovalMode, RemovalReason, Removals};

/// Reason of a pod that waits for the removal of scheduling gates.
const GATED: &str = "SchedulingGated";

/// Maximum number of names in a message.
const MAX_NAMES: usize = 3;

/// Returns a condition from the group's status.
fn current<'a>(group: &Resource<'a>, type_: &str) -> Option<&'a Value> {
    let conditions = group.status["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)
}

/// Returns the reason of a condition from the group's status.
pub(crate) fn reason<'a>(group: &Resource<'a>, type_: &str) -> Option<&'a str> {
    current(group, type_)?["reason"].as_str()
}

/// Returns the condition from the group's status if its reason is that the scheduler does not reply. It stays until the
/// scheduler is queried again, because an operator that has just started has no newer information.
/// `type_` and `unreachable` are its type and that reason.
fn previous_unreachable(
    group: &Resource<'_>,
    type_: &str,
    unreachable: &str,
    scheduler: Scheduler<'_>,
) -> Option<Condition> {
    let condition = current(group, type_)?;
    let is_valid = matches!(scheduler, Scheduler::NotQueried) && condition["reason"] == unreachable;
    let message = condition["message"].as_str().filter(|_| is_valid)?;
    Some(Condition::new(
        type_,
        (condition["status"] == "True").into(),
        unreachable,
        message,
    ))
}

/// Returns the condition `WorkersReady`. `created` is the number of workers that this plan creates.
pub(crate) fn workers_ready(
    group: &Resource<'_>,
    observed_workers: &ObservedWorkers<'_>,
    desired: usize,
    created: usize,
) -> Condition {
    let ready = observed_workers.ready();
    let counted = match ready > desired {
        true => format!("{ready} workers are ready, {desired} are wanted"),
        false => format!("{ready} of {desired} workers are ready"),
    };
    if ready >= desired {
        return WorkersReady::AllReady.condition(ConditionStatus::True, counted);
    }
    if desired > MOST_WORKERS {
        let message = format!(
            "{counted}; a group can have {MOST_WORKERS} workers: lower spec.worker.replicas, and make further groups for the rest"
        );
        return WorkersReady::TooManyWorkers.condition(ConditionStatus::False, message);
    }
    match observed_workers.most_common_problem() {
        Some((count, cause)) => {
            let mut message = format!("{counted}; {count} wait: {} ({})", cause.reason, cause.message);
            if cause.reason == GATED {
                message += &gates(group);
            }
            if let Some(until) = observed_workers
                .backoff_until
                .filter(|_| observed_workers.backing_off().next().is_some())
            {
                message += &format!("; those that have ended are replaced at {}", time::format(until));
            }
            Condition::new(WorkersReady::TYPE, ConditionStatus::False, &cause.reason, message)
        }
        None if created == 0 && observed_workers.starting() == 0 && !observed_workers.leaving.is_empty() => {
            let leaving: Vec<&Worker<'_>> = observed_workers.leaving.iter().collect();
            let message = format!(
                "{counted}; {} being drained, and replaced after that: {}",
                self::counted(leaving.len(), "worker"),
                names(&leaving)
            );
            WorkersReady::WorkersRetiring.condition(ConditionStatus::False, message)
        }
        None => WorkersReady::WorkersStarting.condition(ConditionStatus::False, counted),
    }
}

/// Returns the scheduling gates in the group's own spec as the end of a message. Admission plugins may have added others.
fn gates(group: &Resource<'_>) -> String {
    let gates =
        group.spec[fields::worker_group::WORKER][fields::template::SPEC]["schedulingGates"].as_array();
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

/// Returns the condition for workers whose removal is blocked. `None` if there are none.
pub(crate) fn scale_down_blocked(
    group: &Resource<'_>,
    removals: &Removals<'_, '_>,
    drain: &Drain<'_, '_>,
    scheduler: Scheduler<'_>,
    desired: &Desired,
) -> Option<Condition> {
    let blocked =
        |reason: ScaleDownBlocked, message: String| Some(reason.condition(ConditionStatus::True, message));
    let unreachable = ScaleDownBlocked::SchedulerUnreachable;
    let blocked_count = removals.blocked + drain.staying.len();
    if blocked_count > 0
        && let Some(before) =
            previous_unreachable(group, ScaleDownBlocked::TYPE, unreachable.as_str(), scheduler)
    {
        return Some(before);
    }
    match scheduler {
        Scheduler::Unreachable(why) if blocked_count > 0 => {
            let otherwise = match desired.outage {
                Some(outage) => format!(
                    "at {} they are deleted all the same (`scaleDown: unsafe`)",
                    time::format(outage.ends())
                ),
                None => "with `scaleDown: unsafe` they would be deleted all the same".to_owned(),
            };
            blocked(
                unreachable,
                format!(
                    "{} to leave and held back, because results that no other worker has may be lost and the scheduler \
                     can't be asked to move them: {}; {otherwise}",
                    counted(blocked_count, "worker"),
                    short(why)
                ),
            )
        }
        Scheduler::NotQueried if removals.blocked > 0 => blocked(
            ScaleDownBlocked::SchedulerNotAsked,
            format!(
                "{} to leave and held back until the scheduler was asked who holds what",
                counted(removals.blocked, "worker")
            ),
        ),
        _ => not_taken(&removals.waiting(RemovalReason::Surplus))
            .or_else(|| stuck(&drain.stuck(desired, false), desired))
            .and_then(|message| blocked(ScaleDownBlocked::WorkersHoldData, message)),
    }
}

/// Returns a message that names the workers with results that no other worker can take. `None` if there are none.
fn not_taken(waiting: &[&Worker<'_>]) -> Option<String> {
    let names = (!waiting.is_empty()).then(|| names(waiting))?;
    Some(format!(
        "{} to leave and held back, because no other worker can take the results: {names}; to keep them, add a worker \
         or fetch them; to lose them, delete the pod",
        counted(waiting.len(), "worker"),
    ))
}

/// Returns a message that names the workers that could not move all results in time. `None` if there are none. The message
/// does not change with time alone, because each change of it is a write.
fn stuck(stuck: &[(&Worker<'_>, Timestamp)], desired: &Desired) -> Option<String> {
    let first = stuck.iter().map(|(_, since)| *since).min()?;
    let stuck: Vec<&Worker<'_>> = stuck.iter().map(|(worker, _)| *worker).collect();
    let registered = stuck.iter().flat_map(|worker| worker.registration.registered());
    let bytes: u64 = registered.map(|worker| worker.managed_bytes).sum();
    let end = match stuck.iter().any(|worker| desired.keeps_results(worker)) {
        true => "; to lose them, delete the pod".to_owned(),
        false => format!(
            ", and what is still there at {} is lost",
            time::format(first.saturating_add(desired.drain_timeout))
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

/// Returns the progress of a rollout. `None` if all workers are up to date.
pub(crate) fn workers_up_to_date(
    group: &Resource<'_>,
    observed_workers: &ObservedWorkers<'_>,
    removals: &Removals<'_, '_>,
    drain: &Drain<'_, '_>,
    desired: &Desired,
    scheduler: Scheduler<'_>,
) -> Option<Condition> {
    let leaving = observed_workers
        .leaving
        .iter()
        .filter(|worker| desired.is_outdated(worker))
        .count();
    if removals.outdated + leaving == 0 {
        return None;
    }
    let unreachable = WorkersUpToDate::SchedulerUnreachable;
    let before = previous_unreachable(group, WorkersUpToDate::TYPE, unreachable.as_str(), scheduler);
    if before.is_some() {
        return before;
    }
    let updated = observed_workers
        .workers
        .iter()
        .filter(|worker| !desired.is_outdated(worker));
    let waiting = updated.clone().filter(|worker| !worker.available()).count();
    let counted = format!(
        "{} of {} workers are up to date",
        updated.count(),
        desired.replicas
    );
    let problem_suffix = || {
        let problem = observed_workers
            .most_common_problem()
            .map(|(_, cause)| format!(": {cause}"));
        problem.unwrap_or_default()
    };
    let held_up = stuck(&drain.stuck(desired, true), desired);
    let (reason, message) = match (desired.strategy, scheduler) {
        (Strategy::OnDelete, _) => (
            WorkersUpToDate::OnDelete,
            format!(
                "{counted}; the others are replaced when their pods are deleted (update strategy OnDelete)"
            ),
        ),
        (Strategy::Rolling { .. }, Scheduler::Unreachable(why))
            if removals.by(RemovalMode::DeletedUnsafely).next().is_none() =>
        {
            let why = short(why);
            (
                unreachable,
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
                    problem_suffix()
                ),
            };
            (
                WorkersUpToDate::WorkersHoldData,
                format!("{counted}; {held_up}{waiting}"),
            )
        }
        (Strategy::Rolling { .. }, _) if waiting > 0 && leaving == 0 && removals.all.is_empty() => {
            let waiting = self::counted(waiting, "new worker");
            (
                WorkersUpToDate::RollingUpdate,
                format!(
                    "{counted}; {waiting} waited for before others are replaced{}",
                    problem_suffix()
                ),
            )
        }
        (Strategy::Rolling { .. }, _) => (WorkersUpToDate::RollingUpdate, counted),
    };
    Some(reason.condition(ConditionStatus::False, message))
}

/// Formats a count and the verb after it: `1 worker is`, `2 workers are`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what} is")
    } else {
        format!("{count} {what}s are")
    }
}

/// Joins the first names, with an ellipsis if there are more.
pub(crate) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len() > MAX_NAMES;
    let mut listed: Vec<&str> = names.take(MAX_NAMES).collect();
    if more {
        listed.push("…");
    }
    listed.join(", ")
}

/// Joins the names of the first workers.
pub(crate) fn names(workers: &[&Worker<'_>]) -> String {
    listed(workers.iter().map(|worker| worker.name()))
}

/// Truncates an error text of the scheduler client so that it fits into a message.
fn short(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
