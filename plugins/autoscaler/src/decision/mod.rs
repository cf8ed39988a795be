//! How many workers a group shall have: a pure function of numbers and the time.
//!
//! Nothing in here knows JSON or Kubernetes. All times are whole seconds since 1970-01-01T00:00:00Z.
//!
//! The order is: what the group is wanted to have ([`Demand`]), what it was wanted to have within the window
//! ([`Past`]), how far one step may go ([`Pace`]), and last the limits, which always hold.

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

/// For how long workers that were asked for may be starting until they no longer count as capacity; longer where the
/// window for going down is longer.
pub(crate) const START_UP: Seconds = 300;

/// What the author of an autoscaler wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    /// Fewest workers.
    pub(crate) minimum: u32,
    /// Most workers; not less than `minimum`.
    pub(crate) maximum: u32,
    /// How it goes up.
    pub(crate) up: Pace,
    /// How it goes down.
    pub(crate) down: Pace,
}

/// How fast it goes in one direction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pace {
    /// For how long a change must have been wanted.
    pub(crate) window: Seconds,
    /// How far one step may go.
    pub(crate) step: Step,
    /// From one step to the next.
    pub(crate) period: Seconds,
}

/// How far one step may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// As far as is wanted.
    Unlimited,
    /// So many workers.
    Workers(u32),
    /// A part of the workers that are there, at least one.
    Percent(u32),
}

impl Step {
    /// The most workers by which a group of this size may change at once.
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

/// What is seen now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sight {
    /// The time.
    pub(crate) now: Seconds,
    /// How many workers the group is asked to have.
    pub(crate) current: u32,
    /// What the scheduler could use; none where it did not say.
    pub(crate) demand: Option<Demand>,
    /// Before this time nothing is scaled.
    pub(crate) cooldown_until: Option<Seconds>,
}

/// What has to be remembered from one decision to the next. It is of bounded size, and stays the same while what is
/// wanted stays the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Memory {
    /// How many workers the group was to have after the last decision.
    pub(crate) replicas: Option<u32>,
    /// What the last decision would have liked, within the limits.
    pub(crate) wanted: Option<u32>,
    /// Numbers above `wanted` that were wanted within the window for going down, the greatest and oldest first.
    pub(crate) higher: Vec<Past>,
    /// Numbers below `wanted` that were wanted within the window for going up, the smallest and oldest first.
    pub(crate) lower: Vec<Past>,
    /// When it last went up.
    pub(crate) scaled_up: Option<Seconds>,
    /// When it last went down.
    pub(crate) scaled_down: Option<Seconds>,
    /// When more workers were last asked for, by whomever.
    pub(crate) grown: Option<Seconds>,
}

/// Up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// Why something that is wanted is not done yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wait {
    /// Something else was wanted within the window.
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
    /// Workers that were asked for are starting.
    Starting { until: Seconds },
    /// Somebody forbade scaling until then.
    CoolDown { until: Seconds },
}

impl Wait {
    /// When it ends at the latest.
    pub(crate) fn until(&self) -> Seconds {
        match *self {
            Self::Window { until, .. }
            | Self::Period { until, .. }
            | Self::Starting { until }
            | Self::CoolDown { until } => until,
        }
    }
}

/// What keeps a group from having what is wanted at once, beside time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limited {
    /// Nothing.
    No,
    /// The maximum.
    TooMany,
    /// The minimum.
    TooFew,
    /// So many workers may change in one step.
    Step(Direction, u32),
}

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decision {
    /// How many workers the group shall have.
    pub(crate) replicas: u32,
    /// What it was wanted to have, without limits; the present number where that is not known.
    pub(crate) asked: u32,
    /// The same within the limits.
    pub(crate) wanted: u32,
    /// Why it does not have them yet.
    pub(crate) wait: Option<Wait>,
    /// What else stands in the way.
    pub(crate) limited: Limited,
    /// What to remember.
    pub(crate) memory: Memory,
    /// When to decide again, even if nothing else changes; later than now.
    pub(crate) again: Option<Seconds>,
}

/// Decides.
pub(crate) fn decide(policy: &Policy, sight: &Sight, memory: &Memory) -> Decision {
    let (now, current) = (sight.now, sight.current);
    let mut memory = memory.clone().not_after(now);
    // What was there before this autoscaler is taken to have been asked for now.
    if memory.replicas.is_none_or(|before| current > before) {
        memory.grown = Some(now);
    }
    let start_up_ends = memory.grown.unwrap_or(now) + START_UP.max(policy.down.window);
    let (asked, starting) = match &sight.demand {
        Some(demand) => demand.of_group(current, now < start_up_ends),
        None => (current, false),
    };
    let wanted = policy.limit(asked);
    if sight.demand.is_some() {
        memory.want(policy, wanted, current, now);
    }

    let (mut replicas, mut wait, mut step) = match wanted.cmp(&current) {
        Ordering::Equal => (current, None, None),
        Ordering::Greater => memory.go(Direction::Up, &policy.up, wanted, current, now),
        Ordering::Less => memory.go(Direction::Down, &policy.down, wanted, current, now),
    };
    if starting {
        wait = Some(Wait::Starting { until: start_up_ends });
    }
    // Last, so that nothing before can lead beyond them.
    if policy.limit(replicas) != replicas {
        replicas = policy.limit(replicas);
        (wait, step) = (None, None);
    }
    if let Some(until) = sight.cooldown_until.filter(|until| *until > now) {
        replicas = current;
        (wait, step) = (Some(Wait::CoolDown { until }), None);
    }

    if replicas > current {
        memory.scaled_up = Some(now);
        memory.grown = Some(now);
    } else if replicas < current {
        memory.scaled_down = Some(now);
    }
    memory.replicas = Some(replicas);
    let limited = match step {
        _ if asked > policy.maximum => Limited::TooMany,
        _ if asked < policy.minimum => Limited::TooFew,
        Some((direction, step)) => Limited::Step(direction, step),
        None => Limited::No,
    };
    let again = match &wait {
        Some(wait) => Some(wait.until()),
        None if replicas != wanted => memory.next_chance(policy, replicas, wanted, now),
        None => None,
    };
    Decision {
        replicas,
        asked,
        wanted,
        wait,
        limited,
        memory,
        again,
    }
}

impl Policy {
    /// The number within the limits that is nearest to this one.
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

impl Memory {
    /// A clock that was put back must not make anybody wait longer.
    fn not_after(mut self, now: Seconds) -> Self {
        for past in self.higher.iter_mut().chain(&mut self.lower) {
            past.until = past.until.min(now);
        }
        for time in [&mut self.scaled_up, &mut self.scaled_down, &mut self.grown] {
            *time = time.map(|time| time.min(now));
        }
        self
    }

    /// Notes what is wanted now. What was wanted before was so until now; at first that is what is there.
    fn want(&mut self, policy: &Policy, wanted: u32, current: u32, now: Seconds) {
        let before = Past {
            replicas: self.wanted.unwrap_or(current),
            until: now,
        };
        let before = (before.replicas != wanted).then_some(before);
        let (down, up) = (now - policy.down.window, now - policy.up.window);
        history::note(&mut self.higher, Ordering::Greater, before, wanted, down);
        history::note(&mut self.lower, Ordering::Less, before, wanted, up);
        history::forget(&mut self.higher, |past| past >= current, wanted < current);
        history::forget(&mut self.lower, |past| past <= current, wanted > current);
        self.wanted = Some(wanted);
    }

    /// How far it goes towards what is wanted, why not further, and by how many workers at most if that is why.
    fn go(
        &self,
        direction: Direction,
        pace: &Pace,
        wanted: u32,
        current: u32,
        now: Seconds,
    ) -> (u32, Option<Wait>, Option<(Direction, u32)>) {
        let past = self.past(direction);
        // The least change that was wanted within the window.
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
        let (reached, in_the_way) = match direction {
            Direction::Up => {
                let end = current.saturating_add(step);
                (stable.min(end), stable > end)
            }
            Direction::Down => {
                let end = current.saturating_sub(step);
                (stable.max(end), stable < end)
            }
        };
        (reached, None, in_the_way.then_some((direction, step)))
    }

    /// When more than now may be possible: a number leaves the window, or a period ends.
    fn next_chance(&self, policy: &Policy, replicas: u32, wanted: u32, now: Seconds) -> Option<Seconds> {
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
            Direction::Up => self.scaled_up,
            Direction::Down => self.scaled_down,
        }
    }
}
