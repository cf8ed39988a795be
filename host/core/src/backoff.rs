//! Exponential back-off with jitter, per key.
//!
//! The delay grows with each consecutive failure and is reset by a success.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Counter of consecutive failures by key, from which the delay before a retry follows.
#[derive(Debug)]
pub struct Backoff<K> {
    initial: Duration,
    failures: HashMap<K, u32>,
}

impl<K: Hash + Eq> Backoff<K> {
    /// Returns a back-off without failures. The first delay is about `initial`; each further failure doubles the delay.
    #[must_use]
    pub fn new(initial: Duration) -> Self {
        Self {
            initial,
            failures: HashMap::new(),
        }
    }

    /// Counts a failure of `key` and returns the delay before the next attempt: the nominal delay, at most `max`, plus or
    /// minus up to a quarter. The jitter depends on `seed`, so that keys that failed together are not retried together.
    pub fn failed(&mut self, key: K, seed: u64, max: Duration) -> Duration {
        let failures = self.failures.entry(key).or_default();
        let nominal = self
            .initial
            .saturating_mul(2_u32.saturating_pow(*failures))
            .min(max);
        let delay = nominal.mul_f64(0.75 + 0.5 * fraction(seed, *failures));
        *failures = failures.saturating_add(1);
        delay
    }

    /// Resets the failures of `key` after a success.
    pub fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// Returns the number of failures of `key` since its last success.
    #[must_use]
    pub fn failures(&self, key: &K) -> u32 {
        self.failures.get(key).copied().unwrap_or(0)
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

    #[test]
    fn the_delay_grows_up_to_a_limit_and_is_reset_by_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
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
    }

    #[test]
    fn the_jitter_depends_on_the_seed() {
        let first_delay = |seed| Backoff::new(Duration::from_secs(1)).failed("a", seed, MAX);
        assert_eq!(first_delay(1), first_delay(1));
        assert_ne!(first_delay(1), first_delay(2));
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        backoff.failures.insert("a", u32::MAX);
        assert!(backoff.failed("a", 1, MAX) <= Duration::from_secs(75));
    }
}
