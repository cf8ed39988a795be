//! Leaky bucket that measures the time that a namespace has used. No I/O.

use std::time::Duration;

use tokio::time::Instant;

/// Divisor of the time that a namespace's own components may use: one part in so many of the time that passes.
const PART: u32 = 4;

/// Time that they may use at once if they have used little before.
const BURST: Duration = Duration::from_secs(10);

/// Safety margin: less than timers can distinguish.
const MOMENT: Duration = Duration::from_millis(1);

/// Leaky bucket of used time: one part in `part` of the passing time leaks out, which means that it is forgotten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeakyBucket {
    part: u32,
    /// Time at which the bucket is empty.
    until: Instant,
}

impl LeakyBucket {
    /// Creates an empty bucket.
    pub(crate) fn new(part: u32, now: Instant) -> Self {
        Self { part, until: now }
    }

    /// Creates an empty bucket for a namespace's own components.
    pub(crate) fn for_own_components(now: Instant) -> Self {
        Self::new(PART, now)
    }

    /// Returns the used time that is not forgotten.
    pub(crate) fn level(&self, now: Instant) -> Duration {
        self.until.duration_since(now) / self.part
    }

    /// Returns whether it exceeds the share of a namespace's own components.
    pub(crate) fn is_overdrawn(&self, now: Instant) -> bool {
        self.level(now) >= BURST
    }

    /// Returns the time at which it falls below that share; `None` if it is below it now.
    pub(crate) fn overdrawn_until(&self, now: Instant) -> Option<Instant> {
        let beyond = self.level(now).saturating_sub(BURST);
        self.is_overdrawn(now).then(|| now + beyond * self.part + MOMENT)
    }

    /// Adds used time.
    pub(crate) fn add(&mut self, took: Duration, now: Instant) {
        self.until = self.until.max(now) + took * self.part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_time_is_forgotten_gradually() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = LeakyBucket::for_own_components(start);
        assert_eq!(bucket.level(at(100)), Duration::ZERO);
        bucket.add(Duration::from_secs(8), at(100));
        assert_eq!(bucket.level(at(104)), Duration::from_secs(7));
        assert!(!bucket.is_overdrawn(at(104)));
        bucket.add(Duration::from_secs(3), at(104));
        assert!(bucket.is_overdrawn(at(104)) && !bucket.is_overdrawn(at(105)));
        assert_eq!(bucket.overdrawn_until(at(104)), Some(at(104) + MOMENT));
        assert!(!bucket.is_overdrawn(at(104) + MOMENT));
        assert_eq!(bucket.overdrawn_until(at(105)), None);
        assert_eq!(bucket.level(at(200)), Duration::ZERO);
    }
}
