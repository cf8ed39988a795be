//! Components that could not be compiled: the same bytes are not compiled again and again, whoever asks for them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dask_operator_core::text;

use crate::Digest;

/// After so long, the same bytes are compiled again.
const AGAIN: Duration = Duration::from_secs(600);

/// So many are remembered; the oldest go first.
const MOST: usize = 256;

/// Bytes of what is said of one.
const WORDS: usize = 1024;

/// What could not be compiled of late.
#[derive(Debug, Default)]
pub(crate) struct Uncompiled(VecDeque<Failure>);

#[derive(Debug)]
struct Failure {
    digest: Digest,
    why: String,
    at: Instant,
}

impl Uncompiled {
    /// Why this could not be compiled, as [`Self::add`] has said it; none where that was never tried, or is long ago.
    pub(crate) fn why(&self, digest: &Digest, now: Instant) -> Option<String> {
        let recent = |failure: &&Failure| now.duration_since(failure.at) < AGAIN;
        let failure = self
            .0
            .iter()
            .filter(recent)
            .find(|failure| failure.digest == *digest);
        failure.map(|failure| failure.why.clone())
    }

    /// Remembers why this could not be compiled. Gives that with when it is tried again.
    pub(crate) fn add(&mut self, digest: &Digest, why: &str, now: Instant) -> String {
        let why = format!(
            "{}; the same bytes are not compiled again for {} minutes: push another version",
            text::line(why, WORDS),
            AGAIN.as_secs() / 60
        );
        self.0.retain(|failure| failure.digest != *digest);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(Failure {
            digest: *digest,
            why: why.clone(),
            at: now,
        });
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_for_a_while() {
        let (now, bad) = (Instant::now(), Digest::of(b"bad"));
        let mut uncompiled = Uncompiled::default();
        assert_eq!(uncompiled.why(&bad, now), None);
        let said = uncompiled.add(&bad, "too much", now);
        assert_eq!(
            said,
            "too much; the same bytes are not compiled again for 10 minutes: push another version"
        );
        assert_eq!(uncompiled.why(&bad, now + AGAIN / 2), Some(said));
        assert_eq!(uncompiled.why(&Digest::of(b"other"), now), None);
        assert_eq!(uncompiled.why(&bad, now + AGAIN), None);
        uncompiled.add(&bad, "too much", now + AGAIN);
        assert!(uncompiled.why(&bad, now + AGAIN).is_some());
    }

    #[test]
    fn they_are_few_and_what_is_said_is_short() {
        let now = Instant::now();
        let mut uncompiled = Uncompiled::default();
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        for number in 0..=MOST {
            let said = uncompiled.add(&digest(number), &"x".repeat(2 * WORDS), now);
            assert!(said.len() < 2 * WORDS, "{}", said.len());
        }
        assert_eq!(uncompiled.0.len(), MOST);
        assert_eq!(uncompiled.why(&digest(0), now), None);
        assert!(uncompiled.why(&digest(1), now).is_some() && uncompiled.why(&digest(MOST), now).is_some());
    }
}
