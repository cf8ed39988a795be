//! Limit on repeated trials of a component that can't be used.

use std::time::Duration;

use tokio::time::Instant;

use crate::plugins::error::LoadFailure;

/// Number of failed trials after which a component is not tried for [`QUARANTINE`], unless its source holds other bytes.
pub(super) const TRIALS: u32 = 3;
const QUARANTINE: Duration = Duration::from_secs(3600);

/// Failed trials of the component that was tried last.
#[derive(Default)]
pub(super) struct FailedTrials(Option<FailedTrial>);

/// Component that could not be used.
struct FailedTrial {
    digest: String,
    /// Number of failed trials.
    times: u32,
    /// Time of the last trial. `failure` is its result.
    last: Instant,
    failure: LoadFailure,
}

impl FailedTrials {
    /// Records a failure. Counts it if a component was tried.
    pub(super) fn failed(&mut self, failure: &LoadFailure) {
        let Some(digest) = &failure.tried else {
            return;
        };
        let before = self.0.take().filter(|tried| tried.digest == *digest);
        self.0 = Some(FailedTrial {
            digest: digest.clone(),
            times: before.map_or(1, |tried| tried.times.saturating_add(1)),
            last: Instant::now(),
            failure: failure.clone(),
        });
    }

    /// Returns the failure of a component that is not tried again for now.
    pub(super) fn given_up(&self) -> Option<LoadFailure> {
        let tried = self.0.as_ref()?;
        let is_given_up = tried.times >= TRIALS && tried.last.elapsed() < QUARANTINE;
        is_given_up.then(|| tried.failure.clone())
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_runtime::LoadErrorReason;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_component_that_failed_three_times_is_not_tried_for_an_hour() {
        let failed = |digest: &str| LoadFailure::new(LoadErrorReason::Unfit, "it traps").of(digest);
        let mut trials = FailedTrials::default();
        for _ in 0..TRIALS {
            assert_eq!(trials.given_up(), None);
            trials.failed(&failed("sha256:1"));
        }
        assert_eq!(trials.given_up(), Some(failed("sha256:1")));
        // A failure without a trial does not count.
        trials.failed(&LoadFailure::new(LoadErrorReason::Unfit, "it traps"));
        tokio::time::advance(QUARANTINE).await;
        assert_eq!(trials.given_up(), None);
        trials.failed(&failed("sha256:1"));
        assert!(trials.given_up().is_some());
        // The count restarts with other bytes.
        trials.failed(&failed("sha256:2"));
        assert_eq!(trials.given_up(), None);
    }
}
