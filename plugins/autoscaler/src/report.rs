//! Conditions and events of an autoscaler. No message changes with time alone.

use dask_operator_plugin::dask::metadata::ANNOTATION_COOLDOWN_UNTIL;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::decision::{Decision, Demand, Direction, Limited, Policy, Wait};
use crate::status::text;

/// Condition that is true if the number of workers follows the scheduler, as in a HorizontalPodAutoscaler.
pub(crate) const SCALING_ACTIVE: &str = "ScalingActive";
/// Condition that is true if a wanted change is made now, as in a HorizontalPodAutoscaler.
pub(crate) const ABLE_TO_SCALE: &str = "AbleToScale";
/// Condition that is true if the minimum, the maximum or a step limits the change, as in a HorizontalPodAutoscaler.
pub(crate) const SCALING_LIMITED: &str = "ScalingLimited";

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
    Condition::new(SCALING_ACTIVE, ConditionStatus::True, "FollowsDemand", message)
}

/// Returns the condition `ScalingActive` for an unknown demand. `is_recent` is true if the scheduler's facts are recent.
pub(crate) fn not_following(scheduler: &SchedulerState, is_recent: bool) -> Condition {
    let (reason, message) = match scheduler {
        SchedulerState::Facts(facts) if !is_recent => (
            "StaleAnswer",
            format!(
                "the scheduler last answered at {}",
                time::format(facts.observed_at)
            ),
        ),
        SchedulerState::Facts(_) => (
            "NoDemand",
            "the scheduler does not say how many workers it could use".to_owned(),
        ),
        SchedulerState::Unreachable(why) => (
            "SchedulerUnreachable",
            format!("the scheduler does not answer: {why}"),
        ),
        SchedulerState::NotAsked => ("SchedulerNotAsked", "the scheduler was not asked yet".to_owned()),
    };
    let message = format!("{message}; only minimum and maximum are kept");
    Condition::new(SCALING_ACTIVE, ConditionStatus::False, reason, message)
}

/// Returns the condition `ScalingActive` of an autoscaler that scales nothing.
pub(crate) fn inactive(reason: &str, message: impl Into<String>) -> Condition {
    Condition::new(SCALING_ACTIVE, ConditionStatus::False, reason, message)
}

/// Returns the condition `AbleToScale`.
pub(crate) fn able(decision: &Decision) -> Condition {
    let wanted = decision.wanted;
    let (reason, message) = match &decision.wait {
        None => {
            let message = "a change that is wanted is made at once, in steps where there is a limit for one";
            return Condition::new(ABLE_TO_SCALE, ConditionStatus::True, "ReadyForNewScale", message);
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
            (format!("{}Window", direction_name(*direction)), message)
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
            (format!("{}Period", direction_name(*direction)), message)
        }
        Some(Wait::Starting { until }) => {
            let message = format!(
                "workers that were asked for have not registered yet: they count as if they had until {}",
                text(*until)
            );
            ("WorkersStarting".to_owned(), message)
        }
        Some(Wait::CoolDown { until }) => {
            let message = format!(
                "nothing is scaled until {}, as the annotation {ANNOTATION_COOLDOWN_UNTIL} says",
                text(*until)
            );
            ("CoolDown".to_owned(), message)
        }
    };
    Condition::new(ABLE_TO_SCALE, ConditionStatus::False, reason, message)
}

/// Returns the condition `ScalingLimited`.
pub(crate) fn limited(decision: &Decision, policy: &Policy) -> Condition {
    let requested = decision.requested;
    let (minimum, maximum) = (policy.minimum, policy.maximum);
    let (reason, message) = match decision.limited {
        Limited::No => {
            let message = format!("{} within {minimum} and {maximum}", workers_are(requested));
            return Condition::new(
                SCALING_LIMITED,
                ConditionStatus::False,
                "DesiredWithinRange",
                message,
            );
        }
        Limited::TooMany => (
            "TooManyReplicas",
            format!("{} more than the maximum of {maximum}", workers_are(requested)),
        ),
        Limited::TooFew => (
            "TooFewReplicas",
            format!("{} less than the minimum of {minimum}", workers_are(requested)),
        ),
        Limited::Step(direction, step) => {
            let verb = match direction {
                Direction::Up => "come",
                Direction::Down => "go",
            };
            let reason = match direction {
                Direction::Up => "ScaleUpLimit",
                Direction::Down => "ScaleDownLimit",
            };
            (
                reason,
                format!("{} at most may {verb} in one step", workers(step)),
            )
        }
    };
    Condition::new(SCALING_LIMITED, ConditionStatus::True, reason, message)
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

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Up => "Up",
        Direction::Down => "Down",
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
