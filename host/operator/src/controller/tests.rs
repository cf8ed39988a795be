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

#[tokio::test(start_paused = true)]
async fn many_passes_in_a_row_become_one_a_second() {
    let mut passes = Passes::and(None, Duration::from_millis(2));
    assert_eq!(passes.collect(COLLECT), COLLECT);
    for _ in 0..12 {
        tokio::time::advance(Duration::from_millis(100)).await;
        passes = Passes::and(Some(passes), Duration::from_millis(2));
    }
    assert_eq!(passes.collect(COLLECT), COLLECT_BURST);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(
        Passes::and(Some(passes), Duration::from_millis(2)).collect(COLLECT),
        COLLECT
    );
}

#[rstest]
#[case(1, 1)]
#[case(2, 1)]
#[case(16, 12)]
fn somebody_is_left_for_other_namespaces(#[case] concurrency: usize, #[case] expected: usize) {
    assert_eq!(share(concurrency), expected);
}

#[test]
fn what_a_plan_waits_for_comes_although_something_fails() {
    let seconds = Duration::from_secs;
    for (retry, grown, again, expected) in [
        (Retry::Soon, 2, Some(100), 2),
        (Retry::After(seconds(7)), 2, None, 7),
        (Retry::BackOff, 300, None, 300),
        (Retry::BackOff, 300, Some(60), 60),
        (Retry::BackOff, 300, Some(1), 15),
        (Retry::BackOff, 2, Some(60), 2),
        (Retry::OnChange, 2, None, 300),
        (Retry::OnChange, 2, Some(60), 60),
        (Retry::OnChange, 2, Some(1), 2),
    ] {
        assert_eq!(
            wait(retry, seconds(grown), again.map(seconds)),
            seconds(expected),
            "{retry:?} {grown} {again:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn long_passes_come_rarely() {
    assert_eq!(
        Passes::and(None, Duration::from_millis(400)).collect(COLLECT),
        Duration::from_secs(2)
    );
    assert_eq!(
        Passes::and(None, Duration::from_secs(10)).collect(COLLECT),
        COLLECT_MOST
    );
}
