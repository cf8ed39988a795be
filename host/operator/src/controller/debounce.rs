//! Batching of changes: how long changes are collected before a resource is reconciled again.

use std::time::Duration;

use tokio::time::Instant;

/// Time for which changes of dependencies are batched, so that a thousand starting pods do not cause a thousand plans.
pub(super) const BATCH: Duration = Duration::from_millis(100);

/// Changes are batched for at least this multiple of the duration of the last reconcile, so that most of the time is
/// left for other resources.
const BATCH_FACTOR: u32 = 5;

/// Longest time for which changes are batched.
const BATCH_MAX: Duration = Duration::from_secs(5);

/// Number of recent reconciles after which changes are batched for [`BATCH_BURST`]: workers that start one by one for a
/// minute need not be counted ten times a second.
const BURST: f64 = 10.0;
const BATCH_BURST: Duration = Duration::from_secs(1);

/// Time for which changes of a resource's own status are batched.
pub(super) const BATCH_STATUS: Duration = Duration::from_millis(10);

/// The recent reconciles of a resource.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecentReconciles {
    /// End of the last reconcile.
    ended: Instant,
    /// Duration of the last reconcile.
    duration: Duration,
    /// Number of reconciles, less one for each second that has passed.
    burst: f64,
}

impl RecentReconciles {
    /// Adds a reconcile that has just ended to those `before`.
    pub(super) fn and_one_more(before: Option<Self>, duration: Duration) -> Self {
        let left = |before: Self| (before.burst - before.ended.elapsed().as_secs_f64()).max(0.0);
        Self {
            ended: Instant::now(),
            duration,
            burst: before.map_or(0.0, left) + 1.0,
        }
    }

    /// Returns the time for which changes are batched until the next reconcile, `least` at the minimum.
    pub(super) fn batch_delay(self, least: Duration) -> Duration {
        let least = if self.burst < BURST { least } else { BATCH_BURST };
        (self.duration * BATCH_FACTOR).clamp(least, BATCH_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_reconciles_in_a_row_are_limited_to_one_a_second() {
        let mut recent = RecentReconciles::and_one_more(None, Duration::from_millis(2));
        assert_eq!(recent.batch_delay(BATCH), BATCH);
        for _ in 0..12 {
            tokio::time::advance(Duration::from_millis(100)).await;
            recent = RecentReconciles::and_one_more(Some(recent), Duration::from_millis(2));
        }
        assert_eq!(recent.batch_delay(BATCH), BATCH_BURST);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(
            RecentReconciles::and_one_more(Some(recent), Duration::from_millis(2)).batch_delay(BATCH),
            BATCH
        );
    }

    #[tokio::test(start_paused = true)]
    async fn long_reconciles_are_batched_longer() {
        assert_eq!(
            RecentReconciles::and_one_more(None, Duration::from_millis(400)).batch_delay(BATCH),
            Duration::from_secs(2)
        );
        assert_eq!(
            RecentReconciles::and_one_more(None, Duration::from_secs(10)).batch_delay(BATCH),
            BATCH_MAX
        );
    }
}
