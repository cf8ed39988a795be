//! A component that can't be used is not tried again and again.

use std::time::Duration;

use tokio::time::Instant;

use super::super::failure::LoadFailure;

/// A component that could not be used so often is tried again only after this time, as long as its source holds nothing else.
pub(super) const TRIALS: u32 = 3;
const QUARANTINE: Duration = Duration::from_secs(3600);

/// How often the component that was tried last could not be used.
#[derive(Default)]
pub(super) struct Trials(Option<Tried>);

/// A component that could not be used.
struct Tried {
    digest: String,
    /// How often.
    times: u32,
    /// When it was tried last, and what came of it.
    last: Instant,
    failure: LoadFailure,
}

impl Trials {
    /// Something has failed. It counts where a component was tried.
    pub(super) fn failed(&mut self, failure: &LoadFailure) {
        let Some(digest) = &failure.tried else {
            return;
        };
        let before = self.0.take().filter(|tried| tried.digest == *digest);
        self.0 = Some(Tried {
            digest: digest.clone(),
            times: before.map_or(1, |tried| tried.times.saturating_add(1)),
            last: Instant::now(),
            failure: failure.clone(),
        });
    }

    /// What is not tried again for now, and why it can't be used.
    pub(super) fn given_up(&self) -> Option<LoadFailure> {
        let tried = self.0.as_ref()?;
        let is_given_up = tried.times >= TRIALS && tried.last.elapsed() < QUARANTINE;
        is_given_up.then(|| tried.failure.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_can_not_be_used_is_not_tried_again_and_again() {
        let failed = |digest: &str| LoadFailure::new("Unfit", "it traps").of(digest);
        let mut trials = Trials::default();
        for _ in 0..TRIALS {
            assert_eq!(trials.given_up(), None);
            trials.failed(&failed("sha256:1"));
        }
        assert_eq!(trials.given_up(), Some(failed("sha256:1")));
        // What is not tried does not count.
        trials.failed(&LoadFailure::new("Unfit", "it traps"));
        tokio::time::advance(QUARANTINE).await;
        assert_eq!(trials.given_up(), None);
        trials.failed(&failed("sha256:1"));
        assert!(trials.given_up().is_some());
        // Other bytes begin anew.
        trials.failed(&failed("sha256:2"));
        assert_eq!(trials.given_up(), None);
    }
}
