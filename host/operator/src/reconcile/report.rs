//! Reports about a resource: its status, and events.

use std::sync::Arc;

use dask_operator_core::category::Retry;
use dask_operator_core::conditions;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::{Condition, Event};
use dask_operator_core::status;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::warn;

use super::{Outcome, Reconciler};
use crate::client::error::WriteError;
use crate::client::object::Object;
use crate::client::resource::Kind;
use crate::key::ParentKey;
use crate::reconcile::outcome::{Written, Wrote};
use crate::reconcile::problem::Trouble;
use crate::threads::Load;

/// Report of a plan and of its execution.
pub(super) struct PlanReport {
    /// Status without conditions.
    pub(super) status: Map<String, Value>,
    /// Conditions of the plan.
    pub(super) conditions: Vec<Condition>,
    /// Events of the plan.
    pub(super) events: Vec<Event>,
    /// Problems of the plan and of its execution.
    pub(super) troubles: Vec<Trouble>,
}

/// Status that is to be written, with the present one.
pub(super) struct Report {
    /// The whole desired status.
    wanted: Value,
    /// The present status, or the one that is only remembered.
    before: Value,
    /// True if both statuses are equal.
    is_same: bool,
    /// Events that are published with the status.
    events: Vec<Event>,
}

impl Report {
    /// Returns the report of an executed plan. New problems come before the plan's events.
    pub(super) fn of_plan(kind: DaskKind, object: &Object, plan_report: PlanReport) -> Self {
        let value = object.without_spec();
        let mut conditions = plan_report.conditions;
        conditions.extend(plan_report.troubles.iter().map(Trouble::as_condition));
        let wanted = status::desired(&plan_report.status, &conditions, &value, &now());
        let mut report = Self::new(kind, value, wanted, &plan_report.troubles);
        report.events.extend(plan_report.events);
        report
    }

    /// Returns the report of a resource without a plan: the rest of its status does not change.
    pub(super) fn of_trouble(kind: DaskKind, object: &Object, trouble: Trouble) -> Self {
        let value = object.without_spec();
        let wanted = status::with_condition(&value, &conditions::OF_HOST, &trouble.as_condition(), &now());
        Self::new(kind, value, wanted, &[trouble])
    }

    fn new(kind: DaskKind, mut value: Value, mut wanted: Value, troubles: &[Trouble]) -> Self {
        if troubles.iter().any(|trouble| trouble.is_fatal) && has_phase(kind) {
            wanted["phase"] = "Error".into();
        }
        let news = troubles.iter().filter(|trouble| !trouble.is_in_status(&value));
        let events = news.map(Trouble::as_event).collect();
        let before = value["status"].take();
        Self {
            is_same: status::same(&wanted, &before),
            wanted,
            before,
            events,
        }
    }
}

/// Returns the time in the format of conditions.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns whether the status of the kind has a `phase`.
fn has_phase(kind: DaskKind) -> bool {
    matches!(kind, DaskKind::Cluster | DaskKind::WorkerGroup)
}

impl Reconciler {
    /// Handles a resource without a plan: nothing is deleted or scaled, and its status contains the reason.
    pub(super) async fn fail_static(
        &self,
        key: &ParentKey,
        object: &Arc<Object>,
        trouble: Trouble,
    ) -> Outcome {
        warn!(
            reason = trouble.reason,
            "{}: {}", trouble.condition, trouble.message
        );
        let retry = trouble.retry;
        let report = {
            let (kind, object, text) = (key.kind, object.clone(), object.json.len());
            self.aside
                .run(&key.namespace, Load::of(text), move || {
                    Report::of_trouble(kind, &object, trouble)
                })
                .await
        };
        // A report is written soon, even if a retry of the reconcile is of no use.
        let retry_report = match self.write_status(key, object, &report).await {
            Ok((Wrote::Done, _)) => {
                self.publish(key, object, &report.events).await;
                None
            }
            Ok((Wrote::Withheld(wait), _)) => Some(Retry::After(wait)),
            Ok(_) => None,
            Err(error) => {
                warn!("{error}");
                Some(error.retry())
            }
        };
        let retry_report = retry_report.filter(|_| retry == Retry::OnChange);
        Outcome::Failed(retry_report.unwrap_or(retry), None)
    }

    /// Reports the result of a plan. Returns the new version of the object.
    pub(super) async fn report(
        &self,
        key: &ParentKey,
        object: Arc<Object>,
        plan_report: PlanReport,
        written: &mut Written,
    ) -> Arc<Object> {
        let report = {
            let (kind, object, text) = (key.kind, object.clone(), object.json.len());
            self.aside
                .run(&key.namespace, Load::of(text), move || {
                    Report::of_plan(kind, &object, plan_report)
                })
                .await
        };
        match self.write_status(key, &object, &report).await {
            Ok((Wrote::Done | Wrote::Nothing, newer)) => {
                self.publish(key, &object, &report.events).await;
                return newer.map_or(object, Arc::new);
            }
            Ok((withheld @ Wrote::Withheld(_), _)) => {
                self.remember(key, &object, report, written).await;
                written.add(withheld);
            }
            Err(error) => {
                self.remember(key, &object, report, written).await;
                written.errors.push(error);
            }
        }
        object
    }

    /// Stores a status that could not be written, if the plan has already written something, and publishes its events:
    /// the stored status ensures that the same step is not planned again from the old status.
    async fn remember(&self, key: &ParentKey, object: &Object, report: Report, written: &Written) {
        if written.done == 0 {
            return;
        }
        let Report {
            wanted,
            before,
            events,
            ..
        } = report;
        self.memory.lock().unwritten.insert(&object.uid, wanted, before);
        self.publish(key, object, &events).await;
    }

    /// Publishes events up to the rate limit.
    async fn publish(&self, key: &ParentKey, object: &Object, events: &[Event]) {
        for event in events {
            if !self.may_publish_event(object) || !self.events.publish(key, object, event).await {
                break;
            }
        }
    }

    /// Writes the status if it differs from the present one, or if that is only remembered. Returns the new version of
    /// the object, if it was written.
    async fn write_status(
        &self,
        key: &ParentKey,
        object: &Object,
        report: &Report,
    ) -> Result<(Wrote, Option<Object>), WriteError> {
        let is_unwritten = self.memory.lock().unwritten.has(&object.uid);
        if !is_unwritten && report.is_same {
            return Ok((Wrote::Nothing, None));
        }
        if let Err(wait) = self.admit_status(object, key.kind) {
            return Ok((Wrote::Withheld(wait), None));
        }
        let kind = Kind::dask(key.kind);
        let written = self.writes.apply_status(&kind, object, &report.wanted).await?;
        self.memory.lock().unwritten.forget(&object.uid);
        if let Some(store) = self.stores.of(&kind.resource) {
            store.wrote(written.clone());
        }
        Ok((Wrote::Done, Some(written)))
    }
}
