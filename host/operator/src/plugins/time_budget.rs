//! Time that components of a namespace use while a request is decided. The policies of the namespace share a budget, because
//! those of the cluster are called after them and have the rest of the time for the whole request.

use std::cell::Cell;
use std::time::{Duration, Instant};

use dask_operator_evaluator::logic::{LogicInterface, PluginFailure};
use dask_operator_evaluator::policy::PolicyInterface;
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, Plan, ResourceKind, Review,
    ReviewRequest,
};
use dask_operator_runtime::until;

thread_local! {
    /// Time budget of the request that is decided on this thread; `None` if no time is counted.
    static BUDGET: Cell<Option<TimeBudget>> = const { Cell::new(None) };
}

/// Time budget of components of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimeBudget {
    /// Time that policies have left.
    left: Duration,
    /// Time that all components have used.
    used: Duration,
}

/// Runs `work`, in which the policies of namespaces that are called on this thread have `time` together. Also returns the time
/// that all called components of namespaces used.
pub(crate) fn with_time_budget<T>(time: Duration, work: impl FnOnce() -> T) -> (T, Duration) {
    let budget = TimeBudget {
        left: time,
        used: Duration::ZERO,
    };
    let _restore = RestoreOnDrop(BUDGET.replace(Some(budget)));
    let done = work();
    (done, BUDGET.get().map_or(Duration::ZERO, |budget| budget.used))
}

/// Guard that restores the former budget, also after a panic.
struct RestoreOnDrop(Option<TimeBudget>);

impl Drop for RestoreOnDrop {
    fn drop(&mut self) {
        BUDGET.set(self.0);
    }
}

/// Component of a namespace. The time of its calls is counted, and as a policy it has only the rest of the time that all
/// policies of the namespace share.
pub(crate) struct TenantComponent<T> {
    /// The component.
    pub(crate) inner: T,
}

impl<T> TenantComponent<T> {
    /// Calls the component with the rest of the policies' time as its deadline, and counts the time.
    pub(super) fn call<A>(&self, call: impl FnOnce(&T) -> A) -> A {
        let Some(TimeBudget { left, .. }) = BUDGET.get() else {
            return call(&self.inner);
        };
        let begun = Instant::now();
        let answer = self.count(|inner| until(begun + left, || call(inner)));
        if let Some(budget) = BUDGET.get() {
            let left = left.saturating_sub(begun.elapsed());
            BUDGET.set(Some(TimeBudget { left, ..budget }));
        }
        answer
    }

    /// Calls the component and counts the time.
    fn count<A>(&self, call: impl FnOnce(&T) -> A) -> A {
        let begun = Instant::now();
        let answer = call(&self.inner);
        if let Some(budget) = BUDGET.get() {
            let used = budget.used + begun.elapsed();
            BUDGET.set(Some(TimeBudget { used, ..budget }));
        }
        answer
    }
}

impl<T: PolicyInterface> PolicyInterface for TenantComponent<T> {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        self.call(|inner| inner.admit(request))
    }

    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        self.call(|inner| inner.review_plan(request))
    }
}

impl<T: LogicInterface> LogicInterface for TenantComponent<T> {
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, PluginFailure> {
        self.count(|inner| inner.child_kinds(settings))
    }

    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, PluginFailure> {
        self.count(|inner| inner.default(object, settings))
    }

    fn validate(
        &self,
        object: &str,
        old: Option<&str>,
        settings: &str,
    ) -> Result<Vec<Finding>, PluginFailure> {
        self.count(|inner| inner.validate(object, old, settings))
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, PluginFailure> {
        self.count(|inner| inner.plan(observation))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Time that policies of namespaces have left.
    fn left() -> Option<Duration> {
        BUDGET.get().map(|budget| budget.left)
    }

    #[test]
    fn policies_of_a_namespace_share_their_time() {
        let policies = [TenantComponent { inner: 1 }, TenantComponent { inner: 2 }];
        let [slow, other] = &policies;
        let pause = Duration::from_millis(20);
        let ((), used) = with_time_budget(HOUR, || {
            slow.call(|_| sleep(pause));
            assert!(left().is_some_and(|left| left <= HOUR - pause));
            // Time that others use does not count.
            let before = left();
            let counted = BUDGET.get();
            sleep(pause);
            assert_eq!((left(), BUDGET.get()), (before, counted));
            slow.call(|_| sleep(pause));
            assert!(left().is_some_and(|left| left <= HOUR - 2 * pause));
            let (said, _) = with_time_budget(Duration::ZERO, || other.call(|number| *number));
            assert_eq!(said, 2);
            assert!(left().is_some_and(|left| left > HOUR / 2));
            // Logic may take the whole time of the request, and its time counts as used.
            let before = left();
            other.count(|_| sleep(pause));
            assert_eq!(left(), before);
        });
        assert!(used >= 3 * pause);
        assert_eq!(left(), None);
        with_time_budget(pause, || {
            slow.call(|_| sleep(2 * pause));
            assert_eq!(left(), Some(Duration::ZERO));
        });
        let panics = || -> u8 { panic!("on purpose") };
        assert!(std::panic::catch_unwind(|| with_time_budget(HOUR, panics)).is_err());
        assert_eq!(left(), None);
    }
}
