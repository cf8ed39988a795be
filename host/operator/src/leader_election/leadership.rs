//! Leadership of this process.
//!
//! One of several replicas is the leader: only the leader reconciles and writes. The others keep their informer caches
//! up to date, answer the webhook, and wait for the leadership.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Time that is longer than any process lives.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// End of this process's leadership. Clones share the state.
#[derive(Clone, Debug)]
pub(crate) struct Leadership(Arc<watch::Sender<Option<Instant>>>);

impl Leadership {
    /// Returns a permanent leadership, for the only replica.
    #[must_use]
    pub(crate) fn always() -> Self {
        Self(Arc::new(watch::Sender::new(Some(Instant::now() + FOREVER))))
    }

    /// Returns a state without leadership until [`Leadership::until`] is called.
    #[must_use]
    pub(crate) fn not_yet() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Returns whether this process is the leader at this moment.
    #[must_use]
    pub(crate) fn now(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this process is the leader; returns at once if it is already.
    pub(crate) async fn wait(&self) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = changes
            .wait_for(|until| until.is_some_and(|until| Instant::now() < until))
            .await;
    }

    /// Sets the end of the leadership, which a later call may extend.
    pub(crate) fn until(&self, until: Instant) {
        self.0.send_replace(Some(until));
    }

    /// Ends the leadership.
    pub(crate) fn end(&self) {
        self.0.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn leads_until_the_given_time() {
        assert!(Leadership::always().now());
        let leadership = Leadership::not_yet();
        assert!(!leadership.now());
        leadership.until(Instant::now() + Duration::from_secs(7));
        leadership.wait().await;
        assert!(leadership.clone().now());
        tokio::time::advance(Duration::from_secs(7)).await;
        assert!(!leadership.now(), "it was not renewed");
        leadership.until(Instant::now() + Duration::from_secs(7));
        leadership.end();
        assert!(!leadership.now());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_tasks_are_woken() {
        let leadership = Leadership::not_yet();
        let waits = tokio::spawn({
            let leadership = leadership.clone();
            async move { leadership.wait().await }
        });
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!waits.is_finished());
        leadership.until(Instant::now() + Duration::from_secs(1));
        assert!(waits.await.is_ok());
    }
}
