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
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_is_tried_alone_is_the_next() {
        let trials = Trials::default();
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
