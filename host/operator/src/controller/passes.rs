//! How long changes are collected, so that most of the time is left for others.

use std::time::Duration;

use tokio::time::Instant;

/// How long changes of what a resource depends on are collected, so that a
/// thousand pods that start don't mean a thousand plans.
pub(super) const COLLECT: Duration = Duration::from_millis(100);

/// And at least so many times what the last pass took, so that most of the time
/// is left for others.
const COLLECT_PASSES: u32 = 5;

/// But never longer.
const COLLECT_MOST: Duration = Duration::from_secs(5);

/// After so many passes one after the other, changes are collected for
/// [`COLLECT_BURST`]: workers that start one by one for a minute need not be
/// counted ten times a second.
const BURST: f64 = 10.0;
const COLLECT_BURST: Duration = Duration::from_secs(1);

/// How long changes of a resource's own status are collected.
pub(super) const COLLECT_STATUS: Duration = Duration::from_millis(10);

/// The last passes over a resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passes {
    /// When the last one ended.
    ended: Instant,
    /// What it took.
    duration: Duration,
    /// How many there were, less one for each second that went by.
    burst: f64,
}

impl Passes {
    /// These and one more, which ends now.
    pub(super) fn and(before: Option<Self>, duration: Duration) -> Self {
        let left = |before: Self| (before.burst - before.ended.elapsed().as_secs_f64()).max(0.0);
        Self {
            ended: Instant::now(),
            duration,
            burst: before.map_or(0.0, left) + 1.0,
        }
    }

    /// How long changes are collected until the next, `least` at the least.
    pub(super) fn collect(self, least: Duration) -> Duration {
        let least = if self.burst < BURST { least } else { COLLECT_BURST };
        (self.duration * COLLECT_PASSES).clamp(least, COLLECT_MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_passes_in_a_row_become_one_a_second() {
        let mut passes = Passes::and(None, Duration::from_millis(2));
        assert_eq!(passes.collect(COLLECT), COLLECT);
        for _ in 0..12 {
            tokio::time::advance(Duration::from_millis(100)).await;
            passes = Passes::and(Some(passes), Duration::from_millis(2));
        }
        assert_eq!(passes.collect(COLLECT), COLLECT_BURST);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(
            Passes::and(Some(passes), Duration::from_millis(2)).collect(COLLECT),
            COLLECT
        );
    }

    #[tokio::test(start_paused = true)]
    async fn long_passes_come_rarely() {
        assert_eq!(
            Passes::and(None, Duration::from_millis(400)).collect(COLLECT),
            Duration::from_secs(2)
        );
        assert_eq!(
            Passes::and(None, Duration::from_secs(10)).collect(COLLECT),
            COLLECT_MOST
        );
    }
}
