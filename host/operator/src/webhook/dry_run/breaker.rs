//! Circuit breaker for dry runs. No I/O.

use std::time::Duration;

use tokio::time::Instant;

/// Timeout of a dry run. After it, the resource is admitted with a warning.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Number of consecutive requests with a timeout after which dry runs are skipped. A single request may be slow for reasons of
/// its own, such as another webhook for its namespace.
pub(super) const MAX_TIMEOUTS: u32 = 3;

/// Time for which dry runs are skipped after [`MAX_TIMEOUTS`].
pub(super) const OPEN_TIME: Duration = Duration::from_secs(10);

/// Circuit breaker that skips dry runs for [`OPEN_TIME`] after [`MAX_TIMEOUTS`] consecutive timeouts, so that not every request
/// waits for an overloaded API server. Then one request tries again, and the others are skipped until its result is known.
#[derive(Debug, Default)]
pub(super) struct DryRunBreaker {
    /// Number of consecutive requests with a timeout.
    timeouts: u32,
    /// Time until which dry runs are skipped. `None` while they are sent.
    open_until: Option<Instant>,
}

impl DryRunBreaker {
    /// Returns whether a request may send its dry runs. The first request after the open time may do so alone.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.open_until = Some(now + TIMEOUT);
                true
            }
        }
    }

    /// Records a request with a response in time.
    pub(super) fn record_response(&mut self) {
        *self = Self::default();
    }

    /// Records a request with a timeout.
    pub(super) fn record_timeout(&mut self, now: Instant) {
        self.timeouts = self.timeouts.saturating_add(1);
        if self.timeouts >= MAX_TIMEOUTS {
            self.open_until = Some(now + OPEN_TIME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pods of one namespace may have to pass a slow webhook.
    #[test]
    fn timeouts_between_responses_do_not_open_the_breaker() {
        let (now, mut breaker) = (Instant::now(), DryRunBreaker::default());
        for _ in 0..10 {
            for _ in 1..MAX_TIMEOUTS {
                breaker.record_timeout(now);
            }
            breaker.record_response();
            assert!(breaker.admits(now));
        }
    }
}
