//! The time that components of a namespace take while a request about it is decided. Its policies have a part of it together:
//! those of the cluster are asked after them, and have what is left of the time for the whole request.

use std::cell::Cell;
use std::time::{Duration, Instant};

use dask_operator_render::logic::{Failure, Logic};
use dask_operator_render::policy::Rules;
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, Plan, ResourceKind, Review,
    ReviewRequest,
};
use dask_operator_runtime::until;

thread_local! {
    /// None where nobody counts.
    static OWN: Cell<Option<Own>> = const { Cell::new(None) };
}

/// What components of namespaces have, and have used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Own {
    /// What policies have left.
    left: Duration,
    /// What all have used.
    used: Duration,
}

/// Runs `work`, in which the policies of namespaces that are asked on this thread have so much time together. Returns how much
/// all components of namespaces that were asked have used.
pub(crate) fn with_own_time<T>(time: Duration, work: impl FnOnce() -> T) -> (T, Duration) {
    let own = Own {
        left: time,
        used: Duration::ZERO,
    };
    let _former = Former(OWN.replace(Some(own)));
    let done = work();
    (done, OWN.get().map_or(Duration::ZERO, |own| own.used))
}

/// Puts back what was there before, after a panic too.
struct Former(Option<Own>);

impl Drop for Former {
    fn drop(&mut self) {
        OWN.set(self.0);
    }
}

/// A component of a namespace: what its calls take is counted, and as a policy it has only what is left of the time that all
/// policies of the namespace have.
pub(crate) struct OwnTime<T> {
    /// Who is asked.
    pub(crate) inner: T,
}

impl<T> OwnTime<T> {
    /// Asks, for as long as there is time left.
    pub(super) fn call<A>(&self, question: impl FnOnce(&T) -> A) -> A {
        let Some(Own { left, .. }) = OWN.get() else {
            return question(&self.inner);
        };
        let begun = Instant::now();
        let answer = self.count(|inner| until(begun + left, || question(inner)));
        if let Some(own) = OWN.get() {
            let left = left.saturating_sub(begun.elapsed());
            OWN.set(Some(Own { left, ..own }));
        }
        answer
    }

    /// Asks, and counts how long it takes.
    fn count<A>(&self, question: impl FnOnce(&T) -> A) -> A {
        let begun = Instant::now();
        let answer = question(&self.inner);
        if let Some(own) = OWN.get() {
            let used = own.used + begun.elapsed();
            OWN.set(Some(Own { used, ..own }));
        }
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

impl<T: Logic> Logic for OwnTime<T> {
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, Failure> {
        self.count(|inner| inner.child_kinds(settings))
    }

    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, Failure> {
        self.count(|inner| inner.default(object, settings))
    }

    fn validate(&self, object: &str, old: Option<&str>, settings: &str) -> Result<Vec<Finding>, Failure> {
        self.count(|inner| inner.validate(object, old, settings))
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, Failure> {
        self.count(|inner| inner.plan(observation))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// What policies of namespaces have left.
    fn left() -> Option<Duration> {
        OWN.get().map(|own| own.left)
    }

    #[test]
    fn policies_of_a_namespace_have_their_time_together() {
        let policies = [OwnTime { inner: 1 }, OwnTime { inner: 2 }];
        let [slow, other] = &policies;
        let pause = Duration::from_millis(20);
        let ((), used) = with_own_time(HOUR, || {
            slow.call(|_| sleep(pause));
            assert!(left().is_some_and(|left| left <= HOUR - pause));
            // What others take does not count.
            let before = left();
            let counted = OWN.get();
            sleep(pause);
            assert_eq!((left(), OWN.get()), (before, counted));
            slow.call(|_| sleep(pause));
            assert!(left().is_some_and(|left| left <= HOUR - 2 * pause));
            let (said, _) = with_own_time(Duration::ZERO, || other.call(|number| *number));
            assert_eq!(said, 2);
            assert!(left().is_some_and(|left| left > HOUR / 2));
            // Logic has as long as there is time for the request, and counts, too.
            let before = left();
            other.count(|_| sleep(pause));
            assert_eq!(left(), before);
        });
        assert!(used >= 3 * pause);
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
