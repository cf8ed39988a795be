//! Conditions and events of an autoscaler. No message changes with time alone.

use dask_operator_plugin::dask::conditions::{AbleToScale, ScalingActive, ScalingLimited};
use dask_operator_plugin::dask::metadata::ANNOTATION_COOLDOWN_UNTIL;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::decision::{Decision, Demand, Direction, Limited, Policy, Wait};
use crate::status::text;

/// Returns the condition `ScalingActive` for a known demand.
pub(crate) fn following(demand: &Demand, group: &str, current: u32, replicas: u32) -> Condition {
    let others = match demand.others {
        0 => String::new(),
        others => format!(", {others} registered in other groups"),
    };
    let desired = could_use(demand);
    let message = format!(
        "the scheduler could use {desired}{others}; {group} has {current} and {}",
        change(current, replicas)
    );
    ScalingActive::FollowsDemand.condition(ConditionStatus::True, message)
}

/// Returns the condition `ScalingActive` for an unknown demand. `is_recent` is true if the scheduler's facts are recent.
pub(crate) fn not_following(scheduler: &SchedulerState, is_recent: bool) -> Condition {
    let (reason, message) = match scheduler {
        SchedulerState::Facts(facts) if !is_recent => (
            ScalingActive::StaleAnswer,
            format!(
                "the scheduler last answered at {}",
                time::format(facts.observed_at)
            ),
        ),
        SchedulerState::Facts(_) => (
            ScalingActive::NoDemand,
            "the scheduler does not say how many workers it could use".to_owned(),
        ),
        SchedulerState::Unreachable(why) => (
            ScalingActive::SchedulerUnreachable,
            format!("the scheduler does not answer: {why}"),
        ),
        SchedulerState::NotAsked => (
            ScalingActive::SchedulerNotAsked,
            "the scheduler was not asked yet".to_owned(),
        ),
    };
    inactive(reason, format!("{message}; only minimum and maximum are kept"))
}

/// Returns the condition `ScalingActive` if the number of workers does not follow the scheduler.
pub(crate) fn inactive(reason: ScalingActive, message: impl Into<String>) -> Condition {
    reason.condition(ConditionStatus::False, message)
}

/// Returns the condition `AbleToScale`.
pub(crate) fn able(decision: &Decision) -> Condition {
    let wanted = decision.wanted;
    let (reason, message) = match &decision.wait {
        None => {
            let message = "a change that is wanted is made at once, in steps where there is a limit for one";
            return AbleToScale::ReadyForNewScale.condition(ConditionStatus::True, message);
        }
        Some(Wait::Window {
            direction,
            past,
            until,
        }) => {
            let were = if past.replicas == 1 { "was" } else { "were" };
            let message = format!(
                "wants {wanted}, waits until {} because {} {were} wanted at {}",
                text(*until),
                past.replicas,
                text(past.until)
            );
            let reason = match direction {
                Direction::Up => AbleToScale::UpWindow,
                Direction::Down => AbleToScale::DownWindow,
            };
            (reason, message)
        }
        Some(Wait::Period {
            direction,
            last,
            until,
        }) => {
            let message = format!(
                "wants {wanted}, waits until {} because the last step was made at {}",
                text(*until),
                text(*last)
            );
            let reason = match direction {
                Direction::Up => AbleToScale::UpPeriod,
                Direction::Down => AbleToScale::DownPeriod,
            };
            (reason, message)
        }
        Some(Wait::Starting { until }) => {
            let message = format!(
                "workers that were asked for have not registered yet: they count as if they had until {}",
                text(*until)
            );
            (AbleToScale::WorkersStarting, message)
        }
        Some(Wait::CoolDown { until }) => {
            let message = format!(
                "nothing is scaled until {}, as the annotation {ANNOTATION_COOLDOWN_UNTIL} says",
                text(*until)
            );
            (AbleToScale::CoolDown, message)
        }
    };
    reason.condition(ConditionStatus::False, message)
}

/// Returns the condition `ScalingLimited`.
pub(crate) fn limited(decision: &Decision, policy: &Policy) -> Condition {
    let requested = decision.requested;
    let (minimum, maximum) = (policy.minimum, policy.maximum);
    let (reason, message) = match decision.limited {
        Limited::No => {
            let message = format!("{} within {minimum} and {maximum}", workers_are(requested));
            return ScalingLimited::DesiredWithinRange.condition(ConditionStatus::False, message);
        }
        Limited::TooMany => (
            ScalingLimited::TooManyReplicas,
            format!("{} more than the maximum of {maximum}", workers_are(requested)),
        ),
        Limited::TooFew => (
            ScalingLimited::TooFewReplicas,
            format!("{} less than the minimum of {minimum}", workers_are(requested)),
        ),
        Limited::Step(direction, step) => {
            let verb = match direction {
                Direction::Up => "come",
                Direction::Down => "go",
            };
            let reason = match direction {
                Direction::Up => ScalingLimited::ScaleUpLimit,
                Direction::Down => ScalingLimited::ScaleDownLimit,
            };
            (
                reason,
                format!("{} at most may {verb} in one step", workers(step)),
            )
        }
    };
    reason.condition(ConditionStatus::True, message)
}

/// Returns the event for a change of the group.
pub(crate) fn scaled(group: &str, current: u32, decision: &Decision, demand: Option<&Demand>) -> Event {
    let why = match (demand, decision.limited) {
        (Some(demand), limited) => {
            let bound = match limited {
                Limited::TooMany => ", which is more than the maximum",
                Limited::TooFew => ", which is less than the minimum",
                Limited::Step(..) | Limited::No => "",
            };
            format!("the scheduler could use {}{bound}", could_use(demand))
        }
        (None, Limited::TooMany) => "there are more than the maximum".to_owned(),
        (None, _) => "there are less than the minimum".to_owned(),
    };
    let message = format!(
        "worker group {group} goes from {current} to {}: {why}",
        workers(decision.replicas)
    );
    Event::normal("Scaled", message)
}

/// Formats the number of workers that the scheduler could use, with the number of workers per pod if it is not 1.
fn could_use(demand: &Demand) -> String {
    match demand.per_pod {
        0 | 1 => workers(demand.desired),
        per_pod => format!("{} ({per_pod} in each pod)", workers(demand.desired)),
    }
}

fn change(current: u32, replicas: u32) -> String {
    if current == replicas {
        "stays".to_owned()
    } else {
        format!("goes to {replicas}")
    }
}

fn workers(count: u32) -> String {
    match count {
        1 => "1 worker".to_owned(),
        _ => format!("{count} workers"),
    }
}

fn workers_are(count: u32) -> String {
    match count {
        1 => "1 worker is".to_owned(),
        _ => format!("{count} workers are"),
    }
}
