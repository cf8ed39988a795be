//! The time that policies of a namespace have together while a request about it is decided. Those of the cluster are asked after
//! them, and have what is left of the time for the whole request.

use std::cell::Cell;
use std::time::{Duration, Instant};

use dask_operator_render::logic::Failure;
use dask_operator_render::policy::Rules;
use dask_operator_runtime::contract::{AdmissionRequest, AdmissionResponse, Review, ReviewRequest};
use dask_operator_runtime::until;

thread_local! {
    /// What they have left; none where they have as much as all others.
    static LEFT: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Runs `work`, in which the policies of namespaces that are asked on this thread have so much time together.
pub fn with_own_time<T>(time: Duration, work: impl FnOnce() -> T) -> T {
    let _former = Former(LEFT.replace(Some(time)));
    work()
}

/// Puts back what was there before, after a panic too.
struct Former(Option<Duration>);

impl Drop for Former {
    fn drop(&mut self) {
        LEFT.set(self.0);
    }
}

/// A policy of a namespace: its calls take of the time that all of them have.
pub(super) struct OwnTime<T> {
    /// Who is asked.
    pub(super) inner: T,
}

impl<T> OwnTime<T> {
    fn call<A>(&self, question: impl FnOnce(&T) -> A) -> A {
        let Some(left) = LEFT.get() else {
            return question(&self.inner);
        };
        let begun = Instant::now();
        let answer = until(begun + left, || question(&self.inner));
        LEFT.set(Some(left.saturating_sub(begun.elapsed())));
        answer
    }
}

impl<T: Rules> Rules for OwnTime<T> {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, Failure> {
        self.call(|inner| inner.admit(request))
    }

    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, Failure> {
        self.call(|inner| inner.review_plan(request))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// What policies of namespaces have left.
    fn left() -> Option<Duration> {
        LEFT.get()
    }

    #[test]
    fn policies_of_a_namespace_have_their_time_together() {
        let policies = [OwnTime { inner: 1 }, OwnTime { inner: 2 }];
        let [slow, other] = &policies;
        let pause = Duration::from_millis(20);
        with_own_time(HOUR, || {
            slow.call(|_| sleep(pause));
            assert!(left().is_some_and(|left| left <= HOUR - pause));
            // What others take does not count.
            let before = left();
            sleep(pause);
            assert_eq!(left(), before);
            slow.call(|_| sleep(pause));
            assert!(left().is_some_and(|left| left <= HOUR - 2 * pause));
            with_own_time(Duration::ZERO, || assert_eq!(other.call(|number| *number), 2));
            assert!(left().is_some_and(|left| left > HOUR / 2));
        });
        assert_eq!(left(), None);
        with_own_time(pause, || {
            slow.call(|_| sleep(2 * pause));
            assert_eq!(left(), Some(Duration::ZERO));
        });
        let panics = || -> u8 { panic!("on purpose") };
        assert!(std::panic::catch_unwind(|| with_own_time(HOUR, panics)).is_err());
        assert_eq!(left(), None);
    }
}
