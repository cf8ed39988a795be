//! Results of a reconcile and of its writes, and the requeue that follows from them. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::api_error::{ErrorClass, RetryPolicy};
use dask_operator_core::plan::ResourceKind;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::client::error::WriteError;
use crate::client::object::Object;
use crate::reconcile::memory_budget::OverBudget;
use crate::reconcile::problem::Problem;

/// Minimum of the requeue delay that a plan requests. Changes requeue the resource anyway.
const MIN_REQUEUE: Duration = Duration::from_secs(1);

/// Result of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The resource is in the planned state, or on its way there. Requeue no later than after this time, if given.
    Done(Option<Duration>),
    /// The reconcile failed. Requeue no later than after this time, if the plan requested it.
    Failed(RetryPolicy, Option<Duration>),
    /// The memory that the reconcile needs is in use by others. Nothing was done and nothing is reported; the resource
    /// is requeued soon.
    OverBudget,
    /// The resource does not exist (any more), or its namespace is not managed.
    Gone,
}

/// Reason why there is no plan.
pub(crate) enum NoPlan {
    /// The resource, the component or a policy has a problem.
    Problem(Problem),
    /// The memory that the plan needs is in use by others.
    OverBudget,
}

impl From<Problem> for NoPlan {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<OverBudget> for NoPlan {
    fn from(_: OverBudget) -> Self {
        Self::OverBudget
    }
}

/// A plan that was applied and reported.
pub(crate) struct Reported {
    /// The parent in its newest version.
    pub(crate) object: Arc<Object>,
    /// Reason for which the plan deletes the parent, if it does.
    pub(crate) delete_parent: Option<String>,
    /// Requeue delay that the plan requests, in milliseconds.
    pub(crate) requeue_after: Option<u64>,
    /// Results of all writes.
    pub(crate) summary: ApplySummary,
    /// Start of the writes.
    pub(crate) start: Instant,
}

impl Reported {
    /// Logs the results of the writes, and returns the outcome of the reconcile. `failures` is the number of failed
    /// reconciles in a row.
    pub(crate) fn outcome(self, failures: u32) -> Outcome {
        let summary = self.summary;
        if summary.done > 0 {
            info!(written = summary.done, duration = ?self.start.elapsed(), "reconciled");
        }
        if summary.withheld > 0 {
            warn!(
                writes = summary.withheld, wait = ?summary.wait,
                "too many writes: the next ones are delayed. Does another client revert them, or do children end at \
                 once?"
            );
        }
        summary.log_errors(failures);
        let again = self
            .requeue_after
            .map(|again| Duration::from_millis(again).max(MIN_REQUEUE));
        match summary.soonest_retry() {
            Some(retry) => Outcome::Failed(retry, again),
            None => Outcome::Done([again, summary.wait].into_iter().flatten().min()),
        }
    }
}

/// Result of a write that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    /// The write was done.
    Done,
    /// No write was necessary.
    Unneeded,
    /// The write was withheld for this time, because there were too many.
    Withheld(Duration),
}

/// Results of all writes of a reconcile.
#[derive(Default)]
pub(crate) struct ApplySummary {
    /// Errors of the failed writes.
    pub(crate) errors: Vec<WriteError>,
    /// Number of writes that were done.
    pub(crate) done: usize,
    /// Number of withheld writes.
    pub(crate) withheld: usize,
    /// Shortest wait of the withheld writes, if there are any.
    pub(crate) wait: Option<Duration>,
}

impl ApplySummary {
    /// Adds the result of a write.
    pub(crate) fn add(&mut self, result: Result<WriteOutcome, WriteError>) {
        match result {
            Ok(WriteOutcome::Done) => self.done += 1,
            Ok(WriteOutcome::Unneeded) => {}
            Ok(WriteOutcome::Withheld(wait)) => {
                self.withheld += 1;
                self.wait = Some(self.wait.map_or(wait, |shortest| shortest.min(wait)));
            }
            Err(error) => self.errors.push(error),
        }
    }

    /// Logs the errors, and of many similar ones only the first few. For a namespace that is being deleted one line is
    /// enough, if there was no failure before.
    fn log_errors(&self, failures: u32) {
        const MAX_LOGGED: usize = 3;
        if let Some(error) = self.namespace_termination() {
            match failures {
                0 => info!("the namespace is being deleted: nothing is created in it any more"),
                _ => debug!("{error}"),
            }
            return;
        }
        let passing = |error: &&WriteError| {
            matches!(
                error.class,
                ErrorClass::Stale | ErrorClass::AlreadyExists | ErrorClass::Gone
            )
        };
        for error in self.errors.iter().filter(passing) {
            debug!("{error}");
        }
        let serious: Vec<_> = self.errors.iter().filter(|error| !passing(error)).collect();
        for error in serious.iter().take(MAX_LOGGED) {
            warn!("{error}");
        }
        if serious.len() > MAX_LOGGED {
            warn!("and {} more errors", serious.len() - MAX_LOGGED);
        }
    }

    /// Returns the error of a write in a namespace that is being deleted, if there is one.
    fn namespace_termination(&self) -> Option<&WriteError> {
        let mut errors = self.errors.iter();
        errors.find(|error| error.class == ErrorClass::NamespaceTerminating)
    }

    /// Returns the retry after the errors: the soonest one, so that a long wait does not delay what can be done soon. In
    /// a namespace that is being deleted, nothing can be created, so its wait applies. `None` if there are no errors.
    fn soonest_retry(&self) -> Option<RetryPolicy> {
        if let Some(error) = self.namespace_termination() {
            return Some(error.retry());
        }
        let rank = |retry: &RetryPolicy| match retry {
            RetryPolicy::Soon => (0, Duration::ZERO),
            RetryPolicy::After(wait) => (1, *wait),
            RetryPolicy::Passing => (2, Duration::ZERO),
            RetryPolicy::BackOff => (3, Duration::ZERO),
            RetryPolicy::OnChange => (4, Duration::ZERO),
        };
        self.errors.iter().map(WriteError::retry).min_by_key(rank)
    }
}

/// Number of failed creations, by kind. Failures that would affect all other objects of the kind count more.
#[derive(Default)]
pub(crate) struct KindFailures(HashMap<ResourceKind, usize>);

impl KindFailures {
    /// Number of refused objects of one kind after which the others are not tried any more, because all come from one
    /// template.
    const MAX: usize = 10;

    /// Counts a failure.
    pub(crate) fn add(&mut self, kind: ResourceKind, class: ErrorClass) {
        let weight = match class {
            class if class.concerns_all() => Self::MAX,
            ErrorClass::Invalid => 1,
            _ => 0,
        };
        *self.0.entry(kind).or_default() += weight;
    }

    /// Prevents further creations of objects of that kind.
    pub(crate) fn withhold(&mut self, kind: ResourceKind) {
        self.0.insert(kind, Self::MAX);
    }

    /// Returns whether no further objects of that kind are created.
    pub(crate) fn are_blocked(&self, kind: &ResourceKind) -> bool {
        self.0.get(kind).is_some_and(|failures| *failures >= Self::MAX)
    }
}
