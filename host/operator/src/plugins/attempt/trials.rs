//! Trials of components, side by side or alone.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What is being tried. Whoever tries a suspect does so alone, so that it is known who ended the operator.
#[derive(Default)]
pub(in super::super) struct Trials(RwLock<()>);

/// A trial, until it is dropped.
pub(super) struct Trial<'a> {
    _beside: Option<RwLockReadGuard<'a, ()>>,
    _alone: Option<RwLockWriteGuard<'a, ()>>,
}

impl Trials {
    /// Tries something beside others, as soon as nobody is alone.
    pub(super) async fn beside(&self) -> Trial<'_> {
        Trial {
            _beside: Some(self.0.read().await),
            _alone: None,
        }
    }

    /// Tries something alone, as soon as what is tried has ended; what comes afterwards waits.
    pub(super) async fn alone(&self) -> Trial<'_> {
        Trial {
            _beside: None,
            _alone: Some(self.0.write().await),
        }
    }

    /// Tries something alone where nothing is tried now, so that nobody waits for somebody who waits.
    pub(super) fn alone_now(&self) -> Option<Trial<'_>> {
        Some(Trial {
            _beside: None,
            _alone: Some(self.0.try_write().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_a_suspect_that_waits() {
        let trials = Trials::default();
        let first = trials.beside().await;
        assert!(trials.alone_now().is_none());
        let second = trials.beside().now_or_never();
        assert!(second.is_some(), "that one was told to come later");
        // One that waits is the next.
        let mut alone = Box::pin(trials.alone());
        assert!(alone.as_mut().now_or_never().is_none());
        assert!(trials.beside().now_or_never().is_none());
        drop((first, second));
        let alone = alone.await;
        assert!(trials.beside().now_or_never().is_none() && trials.alone_now().is_none());
        drop(alone);
        assert!(trials.alone_now().is_some());
        assert!(trials.beside().now_or_never().is_some());
    }
}
