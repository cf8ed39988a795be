//! The desired number of workers, as a pure function of numbers and the time.
//!
//! Nothing in this module depends on JSON or Kubernetes. All times are whole seconds since 1970-01-01T00:00:00Z.
//!
//! A decision takes these steps: the wanted number of workers ([`Demand`]), the numbers that were wanted within the window
//! ([`Past`]), the maximum step ([`Pace`]), and finally the minimum and the maximum, which always apply.

mod demand;
mod history;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;

use std::cmp::Ordering;

pub(crate) use demand::Demand;
pub(crate) use history::Past;

/// Seconds since 1970-01-01T00:00:00Z.
pub(crate) type Seconds = i64;

/// Seconds for which workers may be starting and still count as capacity. The window for scaling down applies instead if it is
/// longer.
pub(crate) const STARTUP_GRACE: Seconds = 300;

/// The configuration of an autoscaler.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    /// Minimum number of workers.
    pub(crate) minimum: u32,
    /// Maximum number of workers, not less than `minimum`.
    pub(crate) maximum: u32,
    /// The pace of scaling up.
    pub(crate) up: Pace,
    /// The pace of scaling down.
    pub(crate) down: Pace,
}

/// The pace in one direction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pace {
    /// Seconds for which a change must have been wanted.
    pub(crate) window: Seconds,
    /// Maximum change in one step.
    pub(crate) step: Step,
    /// Minimum seconds between two steps.
    pub(crate) period: Seconds,
}

/// The maximum change in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// No limit.
    Unlimited,
    /// A number of workers.
    Workers(u32),
    /// A percentage of the present workers, at least one worker.
    Percent(u32),
}

impl Step {
    /// Returns the maximum number of workers by which a group of this size may change at once.
    fn of(self, current: u32) -> u32 {
        match self {
            Self::Unlimited => u32::MAX,
            Self::Workers(workers) => workers.max(1),
            Self::Percent(percent) => {
                let part = u64::from(current) * u64::from(percent) / 100;
                u32::try_from(part).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

/// The input of a decision.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Input {
    /// The present time.
    pub(crate) now: Seconds,
    /// Number of workers in the spec of the group.
    pub(crate) current: u32,
    /// The demand of the scheduler. `None` if it is unknown.
    pub(crate) demand: Option<Demand>,
    /// Time before which nothing is scaled.
    pub(crate) cooldown_until: Option<Seconds>,
}

/// The state that is carried from one decision to the next. Its size is bounded, and it does not change while the wanted
/// number stays the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DecisionState {
    /// Number of workers after the last decision.
    pub(crate) replicas: Option<u32>,
    /// The last wanted number, within the limits.
    pub(crate) wanted: Option<u32>,
    /// Numbers above `wanted` that were wanted within the window for scaling down, the greatest and oldest first.
    pub(crate) higher: Vec<Past>,
    /// Numbers below `wanted` that were wanted within the window for scaling up, the smallest and oldest first.
    pub(crate) lower: Vec<Past>,
    /// Time of the last step up.
    pub(crate) last_scale_up: Option<Seconds>,
    /// Time of the last step down.
    pub(crate) last_scale_down: Option<Seconds>,
    /// Time of the last increase of the number of workers, by the autoscaler or a user.
    pub(crate) last_growth: Option<Seconds>,
}

/// A direction of scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// The reason why a wanted change is not made yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wait {
    /// Another number was wanted within the window.
    Window {
        direction: Direction,
        past: Past,
        until: Seconds,
    },
    /// The last step was less than a period ago.
    Period {
        direction: Direction,
        last: Seconds,
        until: Seconds,
    },
    /// Requested workers are starting.
    Starting { until: Seconds },
    /// The cool-down annotation forbids scaling until this time.
    CoolDown { until: Seconds },
}

impl Wait {
    /// Returns the time at which the wait ends at the latest.
    pub(crate) fn until(&self) -> Seconds {
        match *self {
            Self::Window { until, .. }
            | Self::Period { until, .. }
            | Self::Starting { until }
            | Self::CoolDown { until } => until,
        }
    }
}

/// The limit that prevents the wanted number, apart from time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limited {
    /// No limit.
    No,
    /// The maximum.
    TooMany,
    /// The minimum.
    TooFew,
    /// The maximum number of workers that may change in one step.
    Step(Direction, u32),
}

/// The result of a decision.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decision {
    /// Desired number of workers.
    pub(crate) replicas: u32,
    /// The wanted number without limits. The present number if the demand is unknown.
    pub(crate) requested: u32,
    /// The wanted number within the limits.
    pub(crate) wanted: u32,
    /// The reason why the wanted number is not reached yet, if it is time.
    pub(crate) wait: Option<Wait>,
    /// The limit that applies.
    pub(crate) limited: Limited,
    /// The state for the next decision.
    pub(crate) state: DecisionState,
    /// Time of the next decision, which is later than now. `None` if time changes nothing.
    pub(crate) next_at: Option<Seconds>,
}

/// Decides on the number of workers.
pub(crate) fn decide(policy: &Policy, input: &Input, state: &DecisionState) -> Decision {
    let (now, current) = (input.now, input.current);
    let mut state = state.clone().clamp_times(now);
    // Workers that existed before this autoscaler count as requested now.
    if state.replicas.is_none_or(|before| current > before) {
        state.last_growth = Some(now);
    }
    let start_up_ends = state.last_growth.unwrap_or(now) + STARTUP_GRACE.max(policy.down.window);
    let (requested, starting) = match &input.demand {
        Some(demand) => demand.of_group(current, now < start_up_ends),
        None => (current, false),
    };
    let wanted = policy.limit(requested);
    if input.demand.is_some() {
        state.record_wanted(policy, wanted, current, now);
    }

    let (mut replicas, mut wait, mut step) = match wanted.cmp(&current) {
        Ordering::Equal => (current, None, None),
        Ordering::Greater => state.step_towards(Direction::Up, &policy.up, wanted, current, now),
        Ordering::Less => state.step_towards(Direction::Down, &policy.down, wanted, current, now),
    };
    if starting {
        wait = Some(Wait::Starting { until: start_up_ends });
    }
    // The limits come last, so that no other rule can exceed them.
    if policy.limit(replicas) != replicas {
        replicas = policy.limit(replicas);
        (wait, step) = (None, None);
    }
    if let Some(until) = input.cooldown_until.filter(|until| *until > now) {
        replicas = current;
        (wait, step) = (Some(Wait::CoolDown { until }), None);
    }

    if replicas > current {
        state.last_scale_up = Some(now);
        state.last_growth = Some(now);
    } else if replicas < current {
        state.last_scale_down = Some(now);
    }
    state.replicas = Some(replicas);
    let limited = match step {
        _ if requested > policy.maximum => Limited::TooMany,
        _ if requested < policy.minimum => Limited::TooFew,
        Some((direction, step)) => Limited::Step(direction, step),
        None => Limited::No,
    };
    let next_at = match &wait {
        Some(wait) => Some(wait.until()),
        None if replicas != wanted => state.next_step_at(policy, replicas, wanted, now),
        None => None,
    };
    Decision {
        replicas,
        requested,
        wanted,
        wait,
        limited,
        state,
        next_at,
    }
}

impl Policy {
    /// Returns the nearest number within the limits.
    fn limit(&self, replicas: u32) -> u32 {
        replicas.min(self.maximum).max(self.minimum)
    }

    fn pace(&self, direction: Direction) -> &Pace {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}

impl DecisionState {
    /// Limits all times to the present, so that a clock that was set back does not extend a wait.
    fn clamp_times(mut self, now: Seconds) -> Self {
        for past in self.higher.iter_mut().chain(&mut self.lower) {
            past.until = past.until.min(now);
        }
        for time in [
            &mut self.last_scale_up,
            &mut self.last_scale_down,
            &mut self.last_growth,
        ] {
            *time = time.map(|time| time.min(now));
        }
        self
    }

    /// Records the number that is wanted now. The previous one was wanted until now. At first, that is the present number.
    fn record_wanted(&mut self, policy: &Policy, wanted: u32, current: u32, now: Seconds) {
        let before = Past {
            replicas: self.wanted.unwrap_or(current),
            until: now,
        };
        let before = (before.replicas != wanted).then_some(before);
        let (down, up) = (now - policy.down.window, now - policy.up.window);
        history::record(&mut self.higher, Ordering::Greater, before, wanted, down);
        history::record(&mut self.lower, Ordering::Less, before, wanted, up);
        history::prune(&mut self.higher, |past| past >= current, wanted < current);
        history::prune(&mut self.lower, |past| past <= current, wanted > current);
        self.wanted = Some(wanted);
    }

    /// Returns the number after a step towards the wanted one, the reason to wait, and the maximum step if it limits the change.
    fn step_towards(
        &self,
        direction: Direction,
        pace: &Pace,
        wanted: u32,
        current: u32,
        now: Seconds,
    ) -> (u32, Option<Wait>, Option<(Direction, u32)>) {
        let past = self.past(direction);
        // The smallest change that was wanted within the window.
        let stable = past.first().map_or(wanted, |past| past.replicas);
        let blocks = |replicas: u32| match direction {
            Direction::Up => replicas <= current,
            Direction::Down => replicas >= current,
        };
        if let Some(past) = past.iter().rfind(|past| blocks(past.replicas)) {
            let until = past.until + pace.window;
            let wait = Wait::Window {
                direction,
                past: *past,
                until,
            };
            return (current, Some(wait), None);
        }
        if let Some(last) = self.last(direction).filter(|last| last + pace.period > now) {
            let until = last + pace.period;
            return (
                current,
                Some(Wait::Period {
                    direction,
                    last,
                    until,
                }),
                None,
            );
        }
        let step = pace.step.of(current);
        let (reached, is_limited) = match direction {
            Direction::Up => {
                let end = current.saturating_add(step);
                (stable.min(end), stable > end)
            }
            Direction::Down => {
                let end = current.saturating_sub(step);
                (stable.max(end), stable < end)
            }
        };
        (reached, None, is_limited.then_some((direction, step)))
    }

    /// Returns the time at which a further step may be possible: a number leaves the window, or a period ends.
    fn next_step_at(&self, policy: &Policy, replicas: u32, wanted: u32, now: Seconds) -> Option<Seconds> {
        let direction = if wanted > replicas {
            Direction::Up
        } else {
            Direction::Down
        };
        let pace = policy.pace(direction);
        let leaves = self.past(direction).iter().map(|past| past.until + pace.window);
        let period = self.last(direction).map(|last| last + pace.period);
        leaves
            .chain(period)
            .filter(|time| *time > now)
            .min()
            .or(Some(now + 1))
    }

    fn past(&self, direction: Direction) -> &[Past] {
        match direction {
            Direction::Up => &self.lower,
            Direction::Down => &self.higher,
        }
    }

    fn last(&self, direction: Direction) -> Option<Seconds> {
        match direction {
            Direction::Up => self.last_scale_up,
            Direction::Down => self.last_scale_down,
        }
    }
}
