//! Wrapper that reports the successes and failures of a component's calls to its circuit breaker, and leaves the answers
//! unchanged.

use std::sync::Arc;
use std::time::Instant;

use dask_operator_evaluator::logic::{LogicInterface, PluginFailure};
use dask_operator_evaluator::policy::{LARGE, PolicyInterface};
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Answer, Finding, Observation, Plan, ResourceKind, Review,
    ReviewRequest,
};
use dask_operator_runtime::{CallError, Failure as CallFailure};

use crate::plugins::breaker::PluginBreaker;

/// Component whose calls are counted by a circuit breaker.
pub(super) struct Monitored<T> {
    /// The component.
    pub(super) inner: T,
    /// Circuit breaker that counts the calls.
    pub(super) breaker: Arc<PluginBreaker>,
}

impl<T> Monitored<T> {
    /// Counts the outcome of a call about `object` (JSON) in this role. A refusal, or a case that the plugin can't decide, is no
    /// failure, and failures about objects that are [`LARGE`] are not counted.
    fn note<A>(
        &self,
        role: Role,
        object: &str,
        answer: Result<A, PluginFailure>,
    ) -> Result<A, PluginFailure> {
        match &answer {
            Ok(_) => self.breaker.record_success(Instant::now()),
            Err(failure) if counts_against_plugin(role, failure) && object.len() <= LARGE => {
                self.breaker.record_failure(object, failure, Instant::now());
            }
            Err(_) => {}
        }
        answer
    }
}

impl<T: LogicInterface> LogicInterface for Monitored<T> {
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, PluginFailure> {
        self.inner.child_kinds(settings)
    }

    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, PluginFailure> {
        self.note(Role::Logic, object, self.inner.default(object, settings))
    }

    fn validate(
        &self,
        object: &str,
        old: Option<&str>,
        settings: &str,
    ) -> Result<Vec<Finding>, PluginFailure> {
        self.note(Role::Logic, object, self.inner.validate(object, old, settings))
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, PluginFailure> {
        self.note(Role::Logic, &observation.parent, self.inner.plan(observation))
    }
}

impl<T: PolicyInterface> PolicyInterface for Monitored<T> {
    /// Outcomes of dry runs are not counted: a dry run leaves nothing behind, so that any user can repeat it without limit.
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        let answer = self.inner.admit(request);
        if request.dry_run {
            return answer;
        }
        self.note(Role::Policy, &request.object, answer)
    }

    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        self.note(Role::Policy, &request.parent, self.inner.review_plan(request))
    }
}

/// Role in which a plugin is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Determines the children of a resource.
    Logic,
    /// Allows or forbids resources and plans.
    Policy,
}

/// Returns whether a failure counts against the plugin, and not against the host or the caller.
fn counts_against_plugin(role: Role, failure: &PluginFailure) -> bool {
    let Some(call) = failure.downcast_ref::<CallError>() else {
        return false;
    };
    match *call.failure {
        // Load alone can cause it, and any user can cause load by sending requests.
        CallFailure::Deadline { .. } => role == Role::Logic,
        _ => call.failure.is_of_component(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dask_operator_runtime::Digest;
    use dask_operator_runtime::contract::Operation;
    use rstest::rstest;

    use super::*;
    use crate::plugins::breaker::RollbackRule;
    use crate::plugins::breaker::tests::{breaker, letters, object};

    fn failure(what: CallFailure) -> PluginFailure {
        Box::new(CallError {
            component: "c".into(),
            digest: Digest::of(b""),
            interface: "cluster",
            function: "plan",
            failure: Box::new(what),
        })
    }

    #[rstest]
    #[case::own_fault(CallFailure::Missing, true, true)]
    #[case::late(late(), true, false)]
    #[case::caller_has_no_time_left(CallFailure::NoTime { left: Duration::from_millis(10) }, false, false)]
    #[case::no_room(CallFailure::Exhausted("it is full".into()), false, false)]
    fn only_failures_of_the_component_count_against_it(
        #[case] what: CallFailure,
        #[case] of_logic: bool,
        #[case] of_policies: bool,
    ) {
        let failure = failure(what);
        assert_eq!(counts_against_plugin(Role::Logic, &failure), of_logic);
        assert_eq!(counts_against_plugin(Role::Policy, &failure), of_policies);
    }

    #[test]
    fn other_errors_do_not_count_against_a_plugin() {
        assert!(!counts_against_plugin(Role::Logic, &"something else".into()));
    }

    /// Rules whose calls all fail in this way.
    struct Failing(fn() -> CallFailure);

    impl PolicyInterface for Failing {
        fn admit(&self, _: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
            Err(failure(self.0()))
        }

        fn review_plan(&self, _: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
            Err(failure(self.0()))
        }
    }

    fn late() -> CallFailure {
        CallFailure::Deadline {
            limit: Duration::from_secs(1),
        }
    }

    fn missing() -> CallFailure {
        CallFailure::Missing
    }

    #[rstest]
    #[case::fails(missing, false, 0, "b")]
    #[case::dry_run(missing, true, 0, "")]
    #[case::late(late, false, 0, "")]
    #[case::large(missing, false, LARGE, "")]
    fn failures_that_any_user_can_cause_do_not_count(
        #[case] how: fn() -> CallFailure,
        #[case] dry_run: bool,
        #[case] larger: usize,
        #[case] expected: &str,
    ) {
        let (breaker, reports) = breaker(RollbackRule::Objects);
        let inner = Failing(how);
        let policy = Monitored { inner, breaker };
        for name in ["a", "b", "c"] {
            let request = AdmissionRequest {
                kind: ResourceKind {
                    api_version: "kubernetes.dask.org/v1".into(),
                    kind: "DaskCluster".into(),
                },
                operation: Operation::Create,
                object: object(name) + &" ".repeat(larger),
                old: None,
                user_info: "{}".into(),
                dry_run,
                settings: "{}".into(),
            };
            assert!(policy.admit(&request).is_err());
        }
        assert_eq!(letters(reports), expected);
    }
}
