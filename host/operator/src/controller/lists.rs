//! What is waited for until the first pass: what there is of each kind.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::health::Health;

/// How long the first lists of kinds that not every plan needs are waited for, once those of all others are through: what
/// needs one that is only late would say so at each start.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether the first lists are through.
const LOOK: Duration = Duration::from_millis(5);

/// Waits for the first lists: of what is `needed` by every plan as long as it takes; of `others` until they have come or
/// were refused, and for [`PATIENCE`] at the most.
pub(super) async fn first_lists(health: &Health, needed: &[String], others: &[String]) {
    while !health.are_synced(needed) {
        tokio::time::sleep(LOOK).await;
    }
    let patience = Instant::now() + PATIENCE;
    while !health.are_synced(others) && Instant::now() < patience {
        tokio::time::sleep(LOOK).await;
    }
    for name in others {
        if !health.are_synced(std::slice::from_ref(name)) {
            warn!("{name} are not listed yet: what needs to know of them is held until they are");
            health.do_without(name);
        }
    }
    while !health.all_synced() {
        tokio::time::sleep(LOOK).await;
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
    async fn lists_that_are_late_are_waited_for_and_not_for_ever(
        #[case] comes: Option<u64>,
        #[case] expected: u64,
    ) {
        let health = Health::default();
        for name in ["pods", "gadgets", "deployments"] {
            health.expect_watch(name, name, None);
        }
        let seconds = |seconds: u64| tokio::time::sleep(Duration::from_secs(seconds));
        let come = async {
            // What is needed is waited for as long as it takes.
            seconds(60).await;
            health.synced("pods");
            let begun = Instant::now();
            // This one was refused.
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
