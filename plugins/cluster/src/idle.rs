//! A cluster whose scheduler has had nothing to do for `spec.idleTimeout` seconds.

use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::{scheduler, time};
use dask_operator_plugin::prelude::*;

use crate::plan::look_again;

/// Whether the scheduler has nothing to do; its reason says how long that may go on.
const IDLE: &str = "Idle";
const BUSY: &str = "Busy";
const NOTHING_TO_DO: &str = "NothingToDo";
const SOON: &str = "IdleTimeoutSoon";
const TIMEOUT: &str = "IdleTimeout";

/// People are told so many milliseconds before at the most,
const LEAD: i64 = 60_000;
/// and after four fifths of the time at the earliest.
const LEAD_PART: i64 = 5;
/// How long an announcement stands at the least, and how long to wait for an answer that is newer than the end of the time.
const SHORTEST: i64 = 1000;

/// Puts into a plan what follows from the idle timeout of its cluster, if it has one. The cluster of a job only says
/// that it is idle: its job, which would make it anew, takes it away.
pub(crate) fn add(plan: &mut Plan, cluster: &Resource<'_>, observation: &Observation, scheduler_runs: bool) {
    let timeout = time::seconds(&cluster.spec["idleTimeout"]);
    let Some(timeout) = timeout.filter(|timeout| *timeout > 0) else {
        return;
    };
    if !scheduler_runs {
        return;
    }
    let request = scheduler::request(cluster.spec, &[], scheduler::NOW_AND_THEN);
    let request = plan.scheduler.get_or_insert(request);
    request.questions.push(SchedulerQuestion::Idle);
    let before = said(cluster);
    let Some(facts) = observation.scheduler_facts() else {
        // Who does not answer may be busy. What was known stays known.
        plan.conditions.extend(before);
        return;
    };
    let Some(since) = facts.idle_since else {
        let condition = Condition::new(IDLE, ConditionStatus::False, BUSY, "the scheduler has work");
        plan.conditions.push(condition);
        return;
    };
    let idle = format!(
        "the scheduler has had nothing to do since {}",
        time::format(since)
    );
    let was_idle = before
        .as_ref()
        .filter(|before| before.status == ConditionStatus::True);
    if was_idle.is_some_and(|before| !before.message.starts_with(&idle)) {
        // The time of the condition is that of the time before: it begins anew with the next plan.
        let condition = Condition::new(
            IDLE,
            ConditionStatus::False,
            BUSY,
            "the scheduler has had work in between",
        );
        plan.conditions.push(condition);
        look_again(plan, SHORTEST.unsigned_abs());
        return;
    }
    // The scheduler's clock may differ from ours, so that its time alone says little: what counts is since when it has been
    // known here, which the status keeps.
    let known = was_idle
        .and_then(|_| transition(cluster))
        .unwrap_or(observation.now);
    let reason_before = before.map(|condition| condition.reason).unwrap_or_default();
    let of_job = is_of_job(cluster);
    let end = since.max(known).saturating_add(timeout);
    let lead = LEAD.min(timeout / LEAD_PART);
    // What counts is what the scheduler said, when it said it.
    let asked = facts.observed_at;
    let announced = reason_before == SOON || reason_before == TIMEOUT;
    let (reason, message) = if asked >= end && announced {
        let span = time::span(timeout);
        (TIMEOUT, format!("{idle}, longer than the idle timeout of {span}"))
    } else {
        let reason = if asked >= end - lead { SOON } else { NOTHING_TO_DO };
        // It is announced first even where nobody could ask in time.
        let late = asked >= end;
        let then = if late {
            observation.now.saturating_add(SHORTEST)
        } else {
            end
        };
        let then = time::format(then);
        (
            reason,
            format!("{idle}; unless it gets work, the cluster is deleted at {then}"),
        )
    };
    plan.conditions
        .push(Condition::new(IDLE, ConditionStatus::True, reason, &message));
    match reason {
        TIMEOUT if of_job => {}
        TIMEOUT => {
            plan.events.push(Event::normal(
                TIMEOUT,
                format!("{message}: the cluster is deleted"),
            ));
            plan.delete_parent = Some(message);
        }
        _ => {
            if reason == SOON && reason_before != SOON {
                plan.events.push(Event::normal(SOON, message));
            }
            let next = if reason == SOON { end } else { end - lead };
            let rest = next.saturating_sub(observation.now).max(SHORTEST);
            look_again(plan, rest.unsigned_abs());
        }
    }
}

/// The condition that the status has.
fn said(cluster: &Resource<'_>) -> Option<Condition> {
    let conditions = cluster.status["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == IDLE)?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    Some(Condition::new(
        IDLE,
        (text("status") == "True").into(),
        text("reason"),
        text("message"),
    ))
}

/// Since when that condition has had the status that it has.
fn transition(cluster: &Resource<'_>) -> Option<Timestamp> {
    let conditions = cluster.status["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == IDLE)?;
    time::parse(condition["lastTransitionTime"].as_str()?)
}

/// Whether a job made the cluster.
fn is_of_job(cluster: &Resource<'_>) -> bool {
    let owners = cluster.object["metadata"]["ownerReferences"].as_array();
    owners
        .into_iter()
        .flatten()
        .any(|owner| owner["kind"] == "DaskJob" && owner["controller"] == true)
}
