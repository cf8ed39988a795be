//! Memory of recent compilation failures, so that the same bytes are not compiled repeatedly for any tenant.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dask_operator_core::text;

use crate::Digest;

/// Time after which the same bytes are compiled again.
const RETRY_AFTER: Duration = Duration::from_secs(600);

/// Maximum number of stored failures. The oldest are removed first.
const MAX_FAILURES: usize = 256;

/// Maximum length of a failure's reason, in bytes.
const MAX_REASON_BYTES: usize = 1024;

/// Recent compilation failures, oldest first.
#[derive(Debug, Default)]
pub(crate) struct FailedCompilations(VecDeque<Failure>);

#[derive(Debug)]
struct Failure {
    digest: Digest,
    reason: String,
    at: Instant,
}

impl FailedCompilations {
    /// Returns the reason why the bytes with this digest could not be compiled, as returned by [`Self::add`]. Returns `None`
    /// if there is no recent failure.
    pub(crate) fn reason(&self, digest: &Digest, now: Instant) -> Option<String> {
        let recent = |failure: &&Failure| now.duration_since(failure.at) < RETRY_AFTER;
        let failure = self
            .0
            .iter()
            .filter(recent)
            .find(|failure| failure.digest == *digest);
        failure.map(|failure| failure.reason.clone())
    }

    /// Stores the reason why the bytes with this digest could not be compiled. Returns the reason, extended by the time until
    /// the next attempt.
    pub(crate) fn add(&mut self, digest: &Digest, reason: &str, now: Instant) -> String {
        let reason = format!(
            "{}; the same bytes are not compiled again for {} minutes: push another version",
            text::line(reason, MAX_REASON_BYTES),
            RETRY_AFTER.as_secs() / 60
        );
        self.0.retain(|failure| failure.digest != *digest);
        if self.0.len() >= MAX_FAILURES {
            self.0.pop_front();
        }
        self.0.push_back(Failure {
            digest: *digest,
            reason: reason.clone(),
            at: now,
        });
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_stored_for_a_limited_time() {
        let (now, bad) = (Instant::now(), Digest::of(b"bad"));
        let mut failures = FailedCompilations::default();
        assert_eq!(failures.reason(&bad, now), None);
        let reason = failures.add(&bad, "too much", now);
        assert_eq!(
            reason,
            "too much; the same bytes are not compiled again for 10 minutes: push another version"
        );
        assert_eq!(failures.reason(&bad, now + RETRY_AFTER / 2), Some(reason));
        assert_eq!(failures.reason(&Digest::of(b"other"), now), None);
        assert_eq!(failures.reason(&bad, now + RETRY_AFTER), None);
        failures.add(&bad, "too much", now + RETRY_AFTER);
        assert!(failures.reason(&bad, now + RETRY_AFTER).is_some());
    }

    #[test]
    fn limits_the_number_of_failures_and_the_length_of_reasons() {
        let now = Instant::now();
        let mut failures = FailedCompilations::default();
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        for number in 0..=MAX_FAILURES {
            let reason = failures.add(&digest(number), &"x".repeat(2 * MAX_REASON_BYTES), now);
            assert!(reason.len() < 2 * MAX_REASON_BYTES, "{}", reason.len());
        }
        assert_eq!(failures.0.len(), MAX_FAILURES);
        assert_eq!(failures.reason(&digest(0), now), None);
        assert!(
            failures.reason(&digest(1), now).is_some()
                && failures.reason(&digest(MAX_FAILURES), now).is_some()
        );
    }
}
