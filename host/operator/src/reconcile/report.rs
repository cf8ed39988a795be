//! Last step of a reconcile: writes the status, and publishes events. Sends requests to the API server.

mod status_update;

use std::sync::Arc;

use dask_operator_core::api_error::RetryPolicy;
use dask_operator_core::plan::Event;
use tracing::warn;

use crate::cache::Stores;
use crate::client::error::WriteError;
use crate::client::events::Events;
use crate::client::object::Object;
use crate::client::resource::ResourceType;
use crate::client::writer::Writer;
use crate::key::ParentKey;
use crate::reconcile::apply::Applied;
use crate::reconcile::outcome::{ApplySummary, Outcome, Reported, WriteOutcome};
use crate::reconcile::pending_status::PendingStatuses;
use crate::reconcile::problem::Problem;
use crate::reconcile::write_budget::WriteBudget;
use crate::threads::Weight;
use crate::threads::blocking::BlockingThreads;
use status_update::{PlanReport, StatusUpdate};

/// Writes statuses and publishes events.
pub(crate) struct Reporter {
    stores: Stores,
    writer: Writer,
    events: Events,
    budget: WriteBudget,
    pending: PendingStatuses,
    blocking: BlockingThreads,
}

impl Reporter {
    /// Returns a reporter without pending statuses.
    pub(crate) fn new(
        stores: Stores,
        writer: Writer,
        events: Events,
        budget: WriteBudget,
        blocking: BlockingThreads,
    ) -> Self {
        Self {
            stores,
            writer,
            events,
            budget,
            pending: PendingStatuses::default(),
            blocking,
        }
    }

    /// Removes the pending status of an object that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.pending.remove(uid);
    }

    /// Returns the object as if its pending status had been written, if there is one.
    pub(crate) async fn with_pending_status(&self, key: &ParentKey, object: Arc<Object>) -> Arc<Object> {
        if !self.pending.has(&object.uid) {
            return object;
        }
        let (pending, weight) = (self.pending.clone(), Weight::of(object.json.len()));
        self.blocking
            .run(&key.namespace, weight, move || pending.over(object))
            .await
    }

    /// Handles a resource without a plan: nothing is deleted or scaled, and its status contains the reason.
    pub(crate) async fn report_problem(
        &self,
        key: &ParentKey,
        object: &Arc<Object>,
        problem: Problem,
    ) -> Outcome {
        let (condition, reason) = (problem.condition().as_str(), problem.reason.as_str());
        warn!(reason, "{condition}: {}", problem.message);
        let retry = problem.retry;
        let update = {
            let (kind, object, text) = (key.kind, object.clone(), object.json.len());
            let update = move || StatusUpdate::of_problem(kind, &object, problem);
            self.blocking.run(&key.namespace, Weight::of(text), update).await
        };
        // A report is written soon, even if a retry of the reconcile is of no use.
        let retry_report = match self.write_status(key, object, &update).await {
            Ok((WriteOutcome::Done, _)) => {
                self.publish(key, object, &update.events).await;
                None
            }
            Ok((WriteOutcome::Withheld(wait), _)) => Some(RetryPolicy::After(wait)),
            Ok((WriteOutcome::Unneeded, _)) => None,
            Err(error) => {
                warn!("{error}");
                Some(error.retry())
            }
        };
        let retry_report = retry_report.filter(|_| retry == RetryPolicy::OnChange);
        Outcome::Failed(retry_report.unwrap_or(retry), None)
    }

    /// Reports the results of a plan. `failures` is the number of failed reconciles in a row.
    pub(crate) async fn report(&self, key: &ParentKey, applied: Applied, failures: u32) -> Reported {
        let Applied {
            object,
            plan,
            violations,
            mut summary,
            start,
        } = applied;
        let problem = Problem::writing(&summary.errors, failures);
        let report = PlanReport {
            status: plan.status,
            conditions: plan.conditions,
            events: plan.events,
            problems: problem.into_iter().chain(violations).collect(),
        };
        Reported {
            object: self.report_plan(key, object, report, &mut summary).await,
            delete_parent: plan.delete_parent,
            requeue_after: plan.requeue_after,
            summary,
            start,
        }
    }

    /// Writes the status after a plan, and publishes its events. Returns the newest version of the object.
    async fn report_plan(
        &self,
        key: &ParentKey,
        object: Arc<Object>,
        report: PlanReport,
        summary: &mut ApplySummary,
    ) -> Arc<Object> {
        let update = {
            let (kind, object, text) = (key.kind, object.clone(), object.json.len());
            let update = move || StatusUpdate::of_plan(kind, &object, report);
            self.blocking.run(&key.namespace, Weight::of(text), update).await
        };
        let failure = match self.write_status(key, &object, &update).await {
            Ok((WriteOutcome::Done | WriteOutcome::Unneeded, newer)) => {
                self.publish(key, &object, &update.events).await;
                return newer.map_or(object, Arc::new);
            }
            Ok((withheld @ WriteOutcome::Withheld(_), _)) => Ok(withheld),
            Err(error) => Err(error),
        };
        // The pending status ensures that a step that was executed is not planned again from the old status.
        if summary.done > 0 {
            self.pending.insert(&object.uid, update.desired, update.before);
            self.publish(key, &object, &update.events).await;
        }
        summary.add(failure);
        object
    }

    /// Publishes events up to the rate limit.
    async fn publish(&self, key: &ParentKey, object: &Object, events: &[Event]) {
        for event in events {
            if self.budget.admit_event(object).is_err() || !self.events.publish(key, object, event).await {
                break;
            }
        }
    }

    /// Writes the status if it differs from the present one, or if that is only pending. Returns the new version of the
    /// object, if it was written.
    async fn write_status(
        &self,
        key: &ParentKey,
        object: &Object,
        update: &StatusUpdate,
    ) -> Result<(WriteOutcome, Option<Object>), WriteError> {
        if !self.pending.has(&object.uid) && update.is_same {
            return Ok((WriteOutcome::Unneeded, None));
        }
        if let Err(wait) = self.budget.admit_status(object, key.kind) {
            return Ok((WriteOutcome::Withheld(wait), None));
        }
        let kind = ResourceType::dask(key.kind);
        let written = self.writer.apply_status(&kind, object, &update.desired).await?;
        self.pending.remove(&object.uid);
        if let Some(store) = self.stores.of(&kind.resource) {
            store.record_write(written.clone());
        }
        Ok((WriteOutcome::Done, Some(written)))
    }
}
