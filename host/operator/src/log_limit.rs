//! Limit on how often a repeated message is logged. No I/O.

use std::time::Duration;

use tokio::time::Instant;
use tracing::Level;

/// Allows a message at once, and then again after an interval.
#[derive(Debug)]
pub(crate) struct LogLimit {
    interval: Duration,
    /// Level and time of the last message that was allowed.
    last: Option<(Level, Instant)>,
}

impl LogLimit {
    /// Creates a limit of one message per `interval`.
    #[must_use]
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, last: None }
    }

    /// Returns whether to log a warning now. If so, the next interval begins.
    #[must_use]
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        self.limited(Level::WARN, now) == Level::WARN
    }

    /// Returns the level at which to log a message of this level now: `DEBUG` within the interval after a message that was as
    /// severe.
    #[must_use]
    pub(crate) fn limited(&mut self, level: Level, now: Instant) -> Level {
        let is_repetition =
            |(last, at): (Level, Instant)| last <= level && now.saturating_duration_since(at) < self.interval;
        if self.last.is_some_and(is_repetition) {
            return Level::DEBUG;
        }
        self.last = Some((level, now));
        level
    }

    /// Allows the next message at once, because the problem was solved in between.
    pub(crate) fn reset(&mut self) {
        self.last = None;
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

    #[test]
    fn a_more_severe_message_is_logged_at_once() {
        let minute = Duration::from_secs(60);
        let (mut limit, now) = (LogLimit::new(minute), Instant::now());
        assert_eq!(limit.limited(Level::INFO, now), Level::INFO);
        assert_eq!(limit.limited(Level::INFO, now), Level::DEBUG);
        assert_eq!(limit.limited(Level::WARN, now), Level::WARN);
        assert_eq!(limit.limited(Level::INFO, now), Level::DEBUG);
        assert_eq!(limit.limited(Level::WARN, now), Level::DEBUG);
        assert_eq!(limit.limited(Level::WARN, now + minute), Level::WARN);
    }
}
