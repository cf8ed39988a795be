//! How long to wait after a failure: longer each time, not all at once, and
//! from the beginning again after a success.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Consecutive failures by key.
#[derive(Debug)]
pub struct Backoff<K> {
    first: Duration,
    failures: HashMap<K, u32>,
}

impl<K: Hash + Eq> Backoff<K> {
    /// Waits about `first` after a first failure, twice as long after each
    /// further one.
    #[must_use]
    pub fn new(first: Duration) -> Self {
        Self {
            first,
            failures: HashMap::new(),
        }
    }

    /// Counts a failure and says how long to wait: the nominal time or `most`, give or
    /// take a quarter. `seed` decides which, so that keys that failed together
    /// don't come back together.
    pub fn failed(&mut self, key: K, seed: u64, most: Duration) -> Duration {
        let failures = self.failures.entry(key).or_default();
        let nominal = self
            .first
            .saturating_mul(2_u32.saturating_pow(*failures))
            .min(most);
        let wait = nominal.mul_f64(0.75 + 0.5 * fraction(seed, *failures));
        *failures = failures.saturating_add(1);
        wait
    }

    /// Begins again.
    pub fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// How often `key` failed since it last succeeded.
    #[must_use]
    pub fn failures(&self, key: &K) -> u32 {
        self.failures.get(key).copied().unwrap_or(0)
    }
}

/// A number in 0..1 that `seed` and `n` decide.
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

    const MOST: Duration = Duration::from_secs(60);

    #[test]
    fn it_grows_up_to_a_limit_and_begins_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for nominal in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let wait = backoff.failed("a", 7, MOST).as_secs_f64();
            assert!(
                (0.75 * nominal..=1.25 * nominal).contains(&wait),
                "{wait} for {nominal}"
            );
        }
        assert_eq!(backoff.failures(&"a"), 8);
        backoff.succeeded(&"a");
        assert!(backoff.failed("a", 7, MOST).as_secs_f64() <= 1.25);
    }

    #[test]
    fn the_seed_decides() {
        let first = |seed| Backoff::new(Duration::from_secs(1)).failed("a", seed, MOST);
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn it_never_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        backoff.failures.insert("a", u32::MAX);
        assert!(backoff.failed("a", 1, MOST) <= Duration::from_secs(75));
    }
}
