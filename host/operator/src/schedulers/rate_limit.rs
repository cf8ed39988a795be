//! Rate limiter for queries.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Rate limiter that admits one caller per interval, without bursts.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl RateLimiter {
    /// Creates a limiter that admits one caller per `interval`.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: Mutex::new(None),
        }
    }

    /// Waits until the caller is admitted.
    pub(crate) async fn acquire(&self) {
        let start = {
            let mut next = self.next.lock();
            let now = Instant::now();
            let start = next.map_or(now, |next| next.max(now));
            *next = Some(start + self.interval);
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn callers_are_spaced_and_idle_time_allows_no_burst() {
        let (limiter, start) = (RateLimiter::new(Duration::from_millis(10)), Instant::now());
        limiter.acquire().await;
        limiter.acquire().await;
        assert_eq!(start.elapsed(), Duration::from_millis(10));
        tokio::time::advance(Duration::from_secs(1)).await;
        let start = Instant::now();
        for _ in 0..3 {
            limiter.acquire().await;
        }
        assert_eq!(start.elapsed(), Duration::from_millis(20));
    }
}
