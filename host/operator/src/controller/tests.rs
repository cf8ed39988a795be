use rstest::rstest;

use super::*;

#[rstest]
#[case(1, 1)]
#[case(2, 1)]
#[case(16, 12)]
fn one_namespace_can_not_use_all_reconciles(#[case] concurrency: usize, #[case] expected: usize) {
    assert_eq!(share(concurrency), expected);
}

#[test]
fn a_failure_does_not_suppress_the_requeue_of_the_plan() {
    let seconds = Duration::from_secs;
    for (retry, grown, again, expected) in [
        (RetryPolicy::Soon, 2, Some(100), 2),
        (RetryPolicy::After(seconds(7)), 2, None, 7),
        (RetryPolicy::BackOff, 300, None, 300),
        (RetryPolicy::BackOff, 300, Some(60), 60),
        (RetryPolicy::BackOff, 300, Some(1), 15),
        (RetryPolicy::BackOff, 2, Some(60), 2),
        (RetryPolicy::OnChange, 2, None, 300),
        (RetryPolicy::OnChange, 2, Some(60), 60),
        (RetryPolicy::OnChange, 2, Some(1), 2),
    ] {
        assert_eq!(
            wait(retry, seconds(grown), again.map(seconds)),
            seconds(expected),
            "{retry:?} {grown} {again:?}"
        );
    }
}
