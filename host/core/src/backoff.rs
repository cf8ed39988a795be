//! Exponential back-off.
//!
//! The delay grows with each consecutive failure and is reset by a success.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Back-off of one operation: a counter of consecutive failures, from which the delay before the next attempt follows.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Returns a back-off without failures. The first delay is `initial`. Each further failure doubles the delay, up to `max`.
    #[must_use]
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            failures: 0,
        }
    }

    /// Counts a failure and returns the delay before the next attempt.
    pub fn failed(&mut self) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.initial.saturating_mul(factor).min(self.max)
    }

    /// Counts a failure and returns the delay before the next attempt plus or minus up to a quarter. The jitter depends on
    /// `seed`, so that operations that failed together are not retried together.
    pub fn failed_with_jitter(&mut self, seed: u64) -> Duration {
        let jitter = 0.75 + 0.5 * fraction(seed, self.failures);
        self.failed().mul_f64(jitter)
    }

    /// Forgets the failures after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Returns the number of failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// Back-offs by key.
#[derive(Debug)]
pub struct Backoffs<K> {
    initial: Duration,
    backoffs: HashMap<K, Backoff>,
}

impl<K: Hash + Eq> Backoffs<K> {
    /// Returns back-offs without failures. Each first delay is about `initial`.
    #[must_use]
    pub fn new(initial: Duration) -> Self {
        Self {
            initial,
            backoffs: HashMap::new(),
        }
    }

    /// Counts a failure of `key` and returns the delay before the next attempt: at most `max`, with a jitter that depends on
    /// `seed`.
    pub fn failed(&mut self, key: K, seed: u64, max: Duration) -> Duration {
        let new = Backoff::new(self.initial, max);
        let backoff = self.backoffs.entry(key).or_insert(new);
        backoff.max = max;
        backoff.failed_with_jitter(seed)
    }

    /// Resets the failures of `key` after a success.
    pub fn succeeded(&mut self, key: &K) {
        self.backoffs.remove(key);
    }

    /// Returns the number of failures of `key` since its last success.
    #[must_use]
    pub fn failures(&self, key: &K) -> u32 {
        self.backoffs.get(key).map_or(0, Backoff::failures)
    }
}

/// Returns a number in 0..1 that is derived from `seed` and `n`.
fn fraction(seed: u64, n: u32) -> f64 {
    let digest = Sha256::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(n.to_be_bytes())
        .finalize();
    let number = digest
        .iter()
        .take(4)
        .fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    f64::from(number) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(60);

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_delay_doubles_up_to_the_maximum() {
        let mut backoff = Backoff::new(SECOND, MAX);
        let delays: Vec<_> = (0..8).map(|_| backoff.failed().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.failures(), 8);
        backoff.reset();
        assert_eq!((backoff.failures(), backoff.failed()), (0, SECOND));
        assert_eq!(Backoff::new(MAX, SECOND).failed(), SECOND);
    }

    #[test]
    fn the_delay_grows_up_to_a_limit_and_is_reset_by_a_success() {
        let mut backoff = Backoffs::new(SECOND);
        for nominal in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let delay = backoff.failed("a", 7, MAX).as_secs_f64();
            assert!(
                (0.75 * nominal..=1.25 * nominal).contains(&delay),
                "{delay} for {nominal}"
            );
        }
        assert_eq!(backoff.failures(&"a"), 8);
        backoff.succeeded(&"a");
        assert!(backoff.failed("a", 7, MAX).as_secs_f64() <= 1.25);
        assert_eq!(backoff.failures(&"b"), 0);
    }

    #[test]
    fn the_jitter_depends_on_the_seed() {
        let first_delay = |seed| Backoffs::new(SECOND).failed("a", seed, MAX);
        assert_eq!(first_delay(1), first_delay(1));
        assert_ne!(first_delay(1), first_delay(2));
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff {
            failures: u32::MAX,
            ..Backoff::new(SECOND, MAX)
        };
        assert!(backoff.failed_with_jitter(1) <= Duration::from_secs(75));
        assert_eq!(backoff.failed(), MAX);
    }

    /// The maximum depends on the reason of the last failure.
    #[test]
    fn each_failure_has_a_maximum_of_its_own() {
        let mut backoff = Backoffs::new(SECOND);
        for _ in 0..10 {
            backoff.failed("a", 1, MAX);
        }
        assert!(backoff.failed("a", 1, SECOND) <= Duration::from_millis(1250));
        assert!(backoff.failed("a", 1, MAX) >= Duration::from_secs(45));
    }
}
