//! Limit on the number of writes of each object.
//!
//! It keeps the operator from an endless conflict with another client: an object that is written too often has to wait.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Rate limit for the writes of each object.
#[derive(Debug)]
pub struct WriteBreaker {
    window: Duration,
    writes: HashMap<String, Recent>,
}

/// The admitted writes of an object within the window.
#[derive(Debug, Default)]
struct Recent {
    /// Times of the writes, the oldest first.
    times: VecDeque<Duration>,
    /// The largest limit since the window was empty.
    limit: usize,
}

impl WriteBreaker {
    /// Returns a rate limit for the number of writes within a sliding window.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            writes: HashMap::new(),
        }
    }

    /// Admits and counts a write of `object` at `now` (the time since any fixed start) if the window contains fewer than
    /// `limit` writes.
    ///
    /// A larger limit from an earlier call applies until the window is empty: the writes that it allowed are no sign of an
    /// endless loop.
    ///
    /// # Errors
    ///
    /// Returns the delay until the next write is admitted if the limit is reached.
    pub fn admit(&mut self, object: &str, limit: usize, now: Duration) -> Result<(), Duration> {
        let Recent {
            times,
            limit: largest,
        } = self.writes.entry(object.to_owned()).or_default();
        while times.front().is_some_and(|first| *first + self.window <= now) {
            times.pop_front();
        }
        *largest = if times.is_empty() {
            limit
        } else {
            limit.max(*largest)
        };
        match times.front() {
            Some(first) if times.len() >= *largest => Err(*first + self.window - now),
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }

    /// Removes the last admitted write of `object` from the count, because it was not carried out.
    pub fn take_back(&mut self, object: &str) {
        if let Some(Recent { times, .. }) = self.writes.get_mut(object) {
            times.pop_back();
        }
    }

    /// Removes objects without a write in the window, so that deleted objects take no memory.
    pub fn sweep(&mut self, now: Duration) {
        let window = self.window;
        self.writes
            .retain(|_, recent| recent.times.back().is_some_and(|last| *last + window > now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_limited_within_the_window() {
        let at = Duration::from_secs;
        let mut breaker = WriteBreaker::new(at(10));
        assert_eq!(breaker.admit("a", 2, at(0)), Ok(()));
        assert_eq!(breaker.admit("a", 2, at(4)), Ok(()));
        assert_eq!(breaker.admit("a", 2, at(5)), Err(at(5)));
        assert_eq!(
            breaker.admit("b", 2, at(5)),
            Ok(()),
            "each object has its own limit"
        );
        assert_eq!(breaker.admit("a", 2, at(10)), Ok(()));
        assert_eq!(breaker.admit("a", 2, at(11)), Err(at(3)));
        breaker.sweep(at(30));
        assert!(breaker.writes.is_empty());
    }

    #[test]
    fn a_larger_earlier_limit_applies_until_the_window_is_empty_and_a_write_can_be_taken_back() {
        let at = Duration::from_secs;
        let mut breaker = WriteBreaker::new(at(10));
        for _ in 0..3 {
            assert_eq!(breaker.admit("a", 3, at(0)), Ok(()));
        }
        assert_eq!(breaker.admit("a", 1, at(1)), Err(at(9)));
        breaker.take_back("a");
        assert_eq!(breaker.admit("a", 1, at(2)), Ok(()));
        assert_eq!(breaker.admit("a", 1, at(3)), Err(at(7)));
        // After the window, only the new limit applies.
        assert_eq!(breaker.admit("a", 1, at(12)), Ok(()));
        assert_eq!(breaker.admit("a", 1, at(13)), Err(at(9)));
    }
}
