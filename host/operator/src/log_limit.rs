//! Limit on how often a repeated message is logged. No I/O.

use std::time::Duration;

use tokio::time::Instant;

/// Allows a message at once, and then again after an interval.
#[derive(Debug)]
pub(crate) struct LogLimit {
    interval: Duration,
    logged_at: Option<Instant>,
}

impl LogLimit {
    /// Creates a limit of one message per `interval`.
    #[must_use]
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            logged_at: None,
        }
    }

    /// Returns whether to log the message now. If so, the next interval begins.
    #[must_use]
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let is_due = self
            .logged_at
            .is_none_or(|logged_at| now.saturating_duration_since(logged_at) >= self.interval);
        if is_due {
            self.logged_at = Some(now);
        }
        is_due
    }

    /// Allows the next message at once, because the problem was solved in between.
    pub(crate) fn reset(&mut self) {
        self.logged_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_message_is_logged_once_per_interval() {
        let mut limit = LogLimit::new(Duration::from_secs(60));
        let start = Instant::now();
        let allowed = [0, 1, 59, 60, 61, 119, 120, 300, 301].map(|seconds| {
            let now = start + Duration::from_secs(seconds);
            limit.allows(now).then_some(seconds)
        });
        let logged: Vec<_> = allowed.into_iter().flatten().collect();
        assert_eq!(logged, [0, 60, 120, 300]);
    }

    #[test]
    fn a_new_problem_is_logged_at_once() {
        let mut limit = LogLimit::new(Duration::from_secs(60));
        let now = Instant::now();
        assert!(limit.allows(now));
        assert!(!limit.allows(now));
        limit.reset();
        assert!(limit.allows(now));
    }
}
