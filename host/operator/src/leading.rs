//! Whether this process is the one that changes the cluster.
//!
//! Of several replicas one leads: it alone reconciles and writes. The others keep
//! their stores up to date, answer the webhook, and wait for their turn.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Longer than any process lives.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Until when this process leads. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Leading(Arc<watch::Sender<Option<Instant>>>);

impl Leading {
    /// Leads for ever: the only process there is.
    #[must_use]
    pub fn always() -> Self {
        Self(Arc::new(watch::Sender::new(Some(Instant::now() + FOR_EVER))))
    }

    /// Does not lead before [`Leading::until`] says so.
    #[must_use]
    pub fn not_yet() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Whether it leads at this moment.
    #[must_use]
    pub fn now(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it leads; at once if it does already.
    pub async fn wait(&self) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = changes
            .wait_for(|until| until.is_some_and(|until| Instant::now() < until))
            .await;
    }

    /// Leads until `until`, unless it is said anew before.
    pub fn until(&self, until: Instant) {
        self.0.send_replace(Some(until));
    }

    /// Leads no more.
    pub fn end(&self) {
        self.0.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn leads_only_as_long_as_was_said() {
        assert!(Leading::always().now());
        let leading = Leading::not_yet();
        assert!(!leading.now());
        leading.until(Instant::now() + Duration::from_secs(7));
        leading.wait().await;
        assert!(leading.clone().now());
        tokio::time::advance(Duration::from_secs(7)).await;
        assert!(!leading.now(), "nobody renewed it");
        leading.until(Instant::now() + Duration::from_secs(7));
        leading.end();
        assert!(!leading.now());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken() {
        let leading = Leading::not_yet();
        let waits = tokio::spawn({
            let leading = leading.clone();
            async move { leading.wait().await }
        });
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!waits.is_finished());
        leading.until(Instant::now() + Duration::from_secs(1));
        assert!(waits.await.is_ok());
    }
}
