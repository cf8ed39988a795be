//! Reconcile of one Dask resource, in five steps. Each step has a type of its own, which holds only what the step needs:
//!
//! 1. [`observe`]: the [`Observer`] gathers what a plan may depend on from the informer cache.
//! 2. [`plan`]: the [`Planner`] calls the component and the policies, and checks their answers.
//! 3. [`diff`]: the [`Differ`] computes the changes that lead from the observed to the planned state.
//! 4. [`apply`]: the [`Applier`] sends the changes to the API server.
//! 5. [`report`]: the [`Reporter`] sends the status and the events.
//!
//! The diff has no turn of its own on the blocking threads: the planner passes the plan to the differ on the thread of the last
//! check. Another turn would be another wait for a permit, and the cost grows with the input of tenants, so that the diff can't
//! run on the threads that serve requests.
//!
//! Only [`apply`], [`report`] and [`kopf`] send requests, through [`crate::client`]. The components and policies that [`plan`]
//! calls do no I/O.

mod apply;
mod diff;
pub(crate) mod kopf;
pub(crate) mod memory_budget;
pub(crate) mod metrics;
mod observe;
mod observed;
mod outcome;
mod pending_status;
mod plan;
mod problem;
mod report;
mod response_cache;
#[cfg(test)]
mod tests;
mod write_budget;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Instrument, debug, info_span};

use crate::cache::Stores;
use crate::client::events::Events;
use crate::client::object::Object;
use crate::client::writer::Writer;
use crate::key::ParentKey;
use crate::plugins::Plugins;
use crate::recording::Recording;
use crate::schedulers::Schedulers;
use crate::selection::Selection;
use crate::threads::blocking::BlockingThreads;
use apply::Applier;
use diff::Differ;
use memory_budget::{MemoryBudget, Reservation};
use metrics::ReconcileMetrics;
use observe::Observer;
use outcome::NoPlan;
pub(crate) use outcome::Outcome;
use plan::Planner;
pub(crate) use problem::Reason;
use report::Reporter;
use response_cache::ResponseCache;
use write_budget::WriteBudget;

/// Longest time for which an object that is left to garbage collection is ignored.
const LEFT_OVER: Duration = Duration::from_secs(30);

/// Parts of the operator that a reconcile uses.
pub(crate) struct Dependencies {
    /// Informer cache.
    pub(crate) stores: Stores,
    /// Logic plugins and policies.
    pub(crate) plugins: Arc<Plugins>,
    /// Facts from the Dask schedulers.
    pub(crate) schedulers: Schedulers,
    /// Sends the write requests.
    pub(crate) writer: Writer,
    /// Publishes events.
    pub(crate) events: Events,
    /// Metrics of reconciles.
    pub(crate) metrics: ReconcileMetrics,
    /// The managed namespaces.
    pub(crate) selection: Arc<Selection>,
    /// Records observations for plugin authors.
    pub(crate) recording: Recording,
}

/// Reconciles Dask resources.
pub(crate) struct Reconciler {
    /// Informer cache.
    pub(crate) stores: Stores,
    /// Facts from the Dask schedulers.
    pub(crate) schedulers: Schedulers,
    /// The managed namespaces.
    pub(crate) selection: Arc<Selection>,
    /// Metrics of reconciles.
    pub(crate) metrics: ReconcileMetrics,
    memory_budget: MemoryBudget,
    observer: Observer,
    planner: Planner,
    differ: Differ,
    applier: Applier,
    reporter: Reporter,
}

impl Reconciler {
    /// Returns a reconciler that has not reconciled anything yet.
    #[must_use]
    pub(crate) fn new(parts: Dependencies) -> Self {
        let Dependencies {
            stores,
            plugins,
            schedulers,
            writer,
            events,
            metrics,
            selection,
            recording,
        } = parts;
        let (blocking, responses) = (BlockingThreads::default(), ResponseCache::default());
        let budget = WriteBudget::new(metrics.clone());
        Self {
            memory_budget: MemoryBudget::default(),
            observer: Observer::new(
                stores.clone(),
                plugins.clone(),
                schedulers.clone(),
                recording,
                blocking.clone(),
            ),
            planner: Planner::new(plugins, blocking.clone()),
            differ: Differ {
                responses: responses.clone(),
            },
            applier: Applier {
                stores: stores.clone(),
                schedulers: schedulers.clone(),
                writer: writer.clone(),
                budget: budget.clone(),
                responses,
                blocking: blocking.clone(),
            },
            reporter: Reporter::new(stores.clone(), writer, events, budget, blocking),
            stores,
            schedulers,
            selection,
            metrics,
        }
    }

    /// Removes the stored state of an object that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.applier.forget(uid);
        self.reporter.forget(uid);
    }

    /// Removes the write counts of objects that have not been written for long.
    pub(crate) fn sweep(&self) {
        self.applier.budget.sweep();
    }

    /// Reconciles the resource. `failures` is the number of failed reconciles in a row.
    pub(crate) async fn reconcile(&self, key: &ParentKey, failures: u32) -> Outcome {
        let object = self.stores.parent(key).filter(|object| !object.terminating);
        let Some(object) = object.filter(|_| self.selection.has(&key.namespace)) else {
            self.schedulers.unsubscribe(key);
            self.memory_budget.forget(key);
            return Outcome::Gone;
        };
        if self.stores.is_left_over(&object) {
            debug!(%key, "waits for garbage collection: its owner was deleted and created again");
            self.schedulers.unsubscribe(key);
            // The watch of owners may also lag behind. Not all children are queued when it shows the new owner, so the
            // resource is requeued.
            return Outcome::Done(Some(LEFT_OVER));
        }
        let Ok(reservation) = self.memory_budget.begin(key) else {
            return Outcome::OverBudget;
        };
        let span = info_span!(
            "reconcile", kind = key.kind.kind(), namespace = %key.namespace, name = %key.name, plugin = tracing::field::Empty
        );
        let steps = async {
            let object = self.reporter.with_pending_status(key, object).await;
            match self.take_steps(key, object.clone(), failures, reservation).await {
                Ok(outcome) => outcome,
                Err(NoPlan::OverBudget) => Outcome::OverBudget,
                Err(NoPlan::Problem(problem)) => self.reporter.report_problem(key, &object, problem).await,
            }
        };
        steps.instrument(span).await
    }

    /// Takes the five steps. `reservation` is the memory that is reserved so far.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no plan. Nothing has been written then.
    async fn take_steps(
        &self,
        key: &ParentKey,
        object: Arc<Object>,
        failures: u32,
        reservation: Reservation,
    ) -> Result<Outcome, NoPlan> {
        let start = Instant::now();
        let request = self.observer.observe(key, object.clone(), reservation).await?;
        let differ = self.differ.clone();
        let compare = move |planned| differ.diff(planned);
        let diff = self.planner.plan_and(key, request, compare).await?;
        debug!(duration = ?start.elapsed(), children = diff.children, "planned");
        let applied = self.applier.apply(key, object, diff).await;
        let mut reported = self.reporter.report(key, applied, failures).await;
        // Last, because the report needs the parent.
        if self.applier.delete_parent(key, &mut reported).await {
            return Ok(Outcome::Gone);
        }
        Ok(reported.outcome(failures))
    }
}
