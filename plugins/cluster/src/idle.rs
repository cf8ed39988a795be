//! Deletion of a cluster whose scheduler has been idle for `spec.idleTimeout` seconds.

use dask_operator_plugin::dask::conditions::Idle;
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::{fields, scheduler, time};
use dask_operator_plugin::prelude::*;

use crate::requeue::requeue_within;

/// Maximum milliseconds between the announcement and the end of the timeout.
const MAX_NOTICE: i64 = 60_000;
/// Divisor of the timeout for shorter timeouts: the announcement is made after four fifths of the time at the earliest.
const NOTICE_DIVISOR: i64 = 5;
/// Minimum milliseconds from an announcement to the deletion, and until the next reconcile when newer facts are required.
const MIN_NOTICE: i64 = 1000;

/// Adds the consequences of the cluster's idle timeout to a plan, if it has one. The cluster of a job only reports that
/// it is idle. The job would create the cluster again, so the job deletes it.
pub(crate) fn add(plan: &mut Plan, cluster: &Resource<'_>, observation: &Observation, scheduler_runs: bool) {
    let timeout = time::seconds(&cluster.spec[fields::cluster::IDLE_TIMEOUT]);
    let Some(timeout) = timeout.filter(|timeout| *timeout > 0) else {
        return;
    };
    if !scheduler_runs {
        return;
    }
    let request = scheduler::request(cluster.spec, &[], scheduler::NOW_AND_THEN);
    let request = plan.scheduler.get_or_insert(request);
    request.questions.push(SchedulerQuestion::Idle);
    let previous = previous_condition(cluster);
    let Some(facts) = observation.scheduler_facts() else {
        // A scheduler that does not reply may be busy. The previous condition stays.
        plan.conditions.extend(previous);
        return;
    };
    let Some(since) = facts.idle_since else {
        let condition = Idle::Busy.condition(ConditionStatus::False, "the scheduler has work");
        plan.conditions.push(condition);
        return;
    };
    let idle = format!(
        "the scheduler has had nothing to do since {}",
        time::format(since)
    );
    let was_idle = previous
        .as_ref()
        .filter(|previous| previous.status == ConditionStatus::True);
    if was_idle.is_some_and(|previous| !previous.message.starts_with(&idle)) {
        // The transition time of the condition belongs to the previous idle time. The next plan starts a new one.
        let condition = Idle::Busy.condition(ConditionStatus::False, "the scheduler has had work in between");
        plan.conditions.push(condition);
        requeue_within(plan, MIN_NOTICE.unsigned_abs());
        return;
    }
    // The scheduler's clock may differ from the operator's, so its time alone is not reliable. The time since which the
    // operator knows of the idleness decides. The status stores it.
    let known_since = was_idle
        .and_then(|_| transition(cluster))
        .unwrap_or(observation.now);
    let reason_before = previous.map(|condition| condition.reason).unwrap_or_default();
    let of_job = is_of_job(cluster);
    let end = since.max(known_since).saturating_add(timeout);
    let notice = MAX_NOTICE.min(timeout / NOTICE_DIVISOR);
    // The facts are valid for the time when they were observed.
    let observed_at = facts.observed_at;
    let was_soon = reason_before == Idle::IdleTimeoutSoon.as_str();
    let announced = was_soon || reason_before == Idle::IdleTimeout.as_str();
    let (reason, message) = if observed_at >= end && announced {
        let span = time::span(timeout);
        (
            Idle::IdleTimeout,
            format!("{idle}, longer than the idle timeout of {span}"),
        )
    } else {
        let reason = if observed_at >= end - notice {
            Idle::IdleTimeoutSoon
        } else {
            Idle::NothingToDo
        };
        // The deletion is announced first, even if the scheduler could not be queried in time.
        let late = observed_at >= end;
        let then = if late {
            observation.now.saturating_add(MIN_NOTICE)
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
        .push(reason.condition(ConditionStatus::True, &message));
    match reason {
        Idle::IdleTimeout if of_job => {}
        Idle::IdleTimeout => {
            plan.events.push(Event::normal(
                reason.as_str(),
                format!("{message}: the cluster is deleted"),
            ));
            plan.delete_parent = Some(message);
        }
        _ => {
            let is_soon = reason == Idle::IdleTimeoutSoon;
            if is_soon && !was_soon {
                plan.events.push(Event::normal(reason.as_str(), message));
            }
            let next = if is_soon { end } else { end - notice };
            let rest = next.saturating_sub(observation.now).max(MIN_NOTICE);
            requeue_within(plan, rest.unsigned_abs());
        }
    }
}

/// Returns the condition in the status.
fn previous_condition(cluster: &Resource<'_>) -> Option<Condition> {
    let conditions = cluster.status["conditions"].as_array()?;
    let condition = conditions
        .iter()
        .find(|condition| condition["type"] == Idle::TYPE)?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    Some(Condition::new(
        Idle::TYPE,
        (text("status") == "True").into(),
        text("reason"),
        text("message"),
    ))
}

/// Returns the last transition time of the condition in the status.
fn transition(cluster: &Resource<'_>) -> Option<Timestamp> {
    let conditions = cluster.status["conditions"].as_array()?;
    let condition = conditions
        .iter()
        .find(|condition| condition["type"] == Idle::TYPE)?;
    time::parse(condition["lastTransitionTime"].as_str()?)
}

/// Returns whether a job created the cluster.
fn is_of_job(cluster: &Resource<'_>) -> bool {
    let owners = cluster.object["metadata"]["ownerReferences"].as_array();
    owners
        .into_iter()
        .flatten()
        .any(|owner| owner["kind"] == "DaskJob" && owner["controller"] == true)
}
