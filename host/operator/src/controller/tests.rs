use rstest::rstest;

use super::*;

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
