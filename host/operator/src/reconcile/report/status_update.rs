//! The status that is to be written, and the events that are published with it. Pure.

use dask_operator_core::conditions;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::{DesiredCondition, Event};
use dask_operator_core::status;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

use crate::client::object::Object;
use crate::reconcile::problem::Problem;

/// Report of a plan and of its execution.
pub(super) struct PlanReport {
    /// Status without conditions.
    pub(super) status: Map<String, Value>,
    /// Conditions of the plan.
    pub(super) conditions: Vec<DesiredCondition>,
    /// Events of the plan.
    pub(super) events: Vec<Event>,
    /// Problems of the plan and of its execution.
    pub(super) problems: Vec<Problem>,
}

/// Status that is to be written, with the present one.
pub(super) struct StatusUpdate {
    /// The whole desired status.
    pub(super) desired: Value,
    /// The present status, or the pending one.
    pub(super) before: Value,
    /// True if both statuses are equal.
    pub(super) is_same: bool,
    /// Events that are published with the status.
    pub(super) events: Vec<Event>,
}

impl StatusUpdate {
    /// Returns the status after a plan was applied. New problems come before the plan's events.
    pub(super) fn of_plan(kind: DaskKind, object: &Object, report: PlanReport) -> Self {
        let value = object.without_spec();
        let mut conditions = report.conditions;
        conditions.extend(report.problems.iter().map(Problem::as_condition));
        let desired = status::desired(&report.status, &conditions, &value, &now());
        let mut update = Self::new(kind, value, desired, &report.problems);
        update.events.extend(report.events);
        update
    }

    /// Returns the status of a resource without a plan: the rest of its status does not change.
    pub(super) fn of_problem(kind: DaskKind, object: &Object, problem: Problem) -> Self {
        let value = object.without_spec();
        let desired = status::with_condition(&value, &conditions::OF_HOST, &problem.as_condition(), &now());
        Self::new(kind, value, desired, &[problem])
    }

    fn new(kind: DaskKind, mut value: Value, mut desired: Value, problems: &[Problem]) -> Self {
        if problems.iter().any(|problem| problem.is_fatal) && has_phase(kind) {
            desired["phase"] = "Error".into();
        }
        let new_problems = problems.iter().filter(|problem| !problem.is_in_status(&value));
        let events = new_problems.map(Problem::as_event).collect();
        let before = value["status"].take();
        Self {
            is_same: status::same(&desired, &before),
            desired,
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
