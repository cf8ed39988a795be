//! Wait for the first list of each kind before the first reconcile.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::health::Health;

/// Longest wait for the first lists of kinds that not every plan needs, after those of all needed kinds are complete.
/// Without it, each start would report the resources that need a kind whose list is only late.
const OPTIONAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval at which the lists are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits for the first lists: without a limit for the kinds that every plan needs (`needed`). Lists of `others` are
/// waited for until they are complete or refused, and for [`OPTIONAL_TIMEOUT`] at most.
pub(super) async fn first_lists(health: &Health, needed: &[String], others: &[String]) {
    while !health.are_synced(needed) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let deadline = Instant::now() + OPTIONAL_TIMEOUT;
    while !health.are_synced(others) && Instant::now() < deadline {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    for name in others {
        if !health.are_synced(std::slice::from_ref(name)) {
            warn!("{name} are not listed yet: reconciles that need them are blocked until they are");
            health.do_without(name);
        }
    }
    while !health.all_synced() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::at_once(Some(0), 0)]
    #[case::late(Some(20), 20)]
    #[case::never(None, 30)]
    #[tokio::test(start_paused = true)]
    async fn late_optional_lists_are_waited_for_up_to_a_limit(
        #[case] comes: Option<u64>,
        #[case] expected: u64,
    ) {
        let health = Health::default();
        for name in ["pods", "gadgets", "deployments"] {
            health.expect_watch(name, name, None);
        }
        let seconds = |seconds: u64| tokio::time::sleep(Duration::from_secs(seconds));
        let come = async {
            // Needed kinds are waited for without a limit.
            seconds(60).await;
            health.synced("pods");
            let begun = Instant::now();
            // The list of this kind was refused.
            health.do_without("gadgets");
            if let Some(comes) = comes {
                seconds(comes).await;
                health.synced("deployments");
            }
            begun
        };
        let wait = async {
            let others = ["gadgets".to_owned(), "deployments".to_owned()];
            first_lists(&health, &["pods".to_owned()], &others).await;
            Instant::now()
        };
        let (begun, ended) = tokio::join!(come, wait);
        assert_eq!(ended.duration_since(begun).as_secs(), expected);
        assert!(health.all_synced());
    }
}
