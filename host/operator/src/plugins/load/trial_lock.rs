//! Lock for trials of components, beside others or alone.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Lock of the running trials. A suspect is tried alone, so that it is known which component ended the operator.
#[derive(Default)]
pub(super) struct TrialLock(RwLock<()>);

/// Running trial, until it is dropped.
pub(super) struct Trial<'a> {
    _beside: Option<RwLockReadGuard<'a, ()>>,
    _alone: Option<RwLockWriteGuard<'a, ()>>,
}

impl TrialLock {
    /// Starts a trial beside others, as soon as no trial runs alone.
    pub(super) async fn beside(&self) -> Trial<'_> {
        Trial {
            _beside: Some(self.0.read().await),
            _alone: None,
        }
    }

    /// Starts a trial that runs alone, as soon as all running trials have ended. Later trials wait for it.
    pub(super) async fn alone(&self) -> Trial<'_> {
        Trial {
            _beside: None,
            _alone: Some(self.0.write().await),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_trial_alone_comes_next_and_excludes_others() {
        let trials = TrialLock::default();
        let first = trials.beside().await;
        let second = trials.beside().now_or_never();
        assert!(second.is_some());
        let mut alone = Box::pin(trials.alone());
        assert!(alone.as_mut().now_or_never().is_none());
        assert!(trials.beside().now_or_never().is_none());
        drop((first, second));
        let alone = alone.await;
        assert!(trials.beside().now_or_never().is_none() && trials.alone().now_or_never().is_none());
        drop(alone);
        assert!(trials.alone().now_or_never().is_some());
        assert!(trials.beside().now_or_never().is_some());
    }
}
