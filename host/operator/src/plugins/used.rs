//! Time that a namespace has used, which is forgotten as time passes.

use std::time::Duration;

use tokio::time::Instant;

/// Of the time that passes, a namespace's own components may use one part in so many.
const PART: u32 = 4;

/// And so much at once, where they have used little before.
const BURST: Duration = Duration::from_secs(10);

/// Less than a timer can tell apart.
const MOMENT: Duration = Duration::from_millis(1);

/// Time that was used, of which one part in so many of the time that passes is forgotten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    part: u32,
    /// When all of it is forgotten.
    until: Instant,
}

impl Used {
    /// None yet.
    pub(crate) fn new(part: u32, now: Instant) -> Self {
        Self { part, until: now }
    }

    /// None yet by the components that a namespace has brought along.
    pub(crate) fn by_own_components(now: Instant) -> Self {
        Self::new(PART, now)
    }

    /// What is not forgotten.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.until.duration_since(now) / self.part
    }

    /// Whether it is more than what a namespace's own components have.
    pub(crate) fn is_overdrawn(&self, now: Instant) -> bool {
        self.left(now) >= BURST
    }

    /// When it is less again; none where it is now.
    pub(crate) fn overdrawn_until(&self, now: Instant) -> Option<Instant> {
        let beyond = self.left(now).saturating_sub(BURST);
        self.is_overdrawn(now).then(|| now + beyond * self.part + MOMENT)
    }

    /// So much more was used.
    pub(crate) fn add(&mut self, took: Duration, now: Instant) {
        self.until = self.until.max(now) + took * self.part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_forgotten_as_time_passes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut used = Used::by_own_components(start);
        assert_eq!(used.left(at(100)), Duration::ZERO);
        used.add(Duration::from_secs(8), at(100));
        assert_eq!(used.left(at(104)), Duration::from_secs(7));
        assert!(!used.is_overdrawn(at(104)));
        used.add(Duration::from_secs(3), at(104));
        assert!(used.is_overdrawn(at(104)) && !used.is_overdrawn(at(105)));
        assert_eq!(used.overdrawn_until(at(104)), Some(at(104) + MOMENT));
        assert!(!used.is_overdrawn(at(104) + MOMENT));
        assert_eq!(used.overdrawn_until(at(105)), None);
        assert_eq!(used.left(at(200)), Duration::ZERO);
    }
}
