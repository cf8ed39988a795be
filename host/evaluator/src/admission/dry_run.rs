//! Dry run of the plan of an object without children, so that problems are reported at admission and not only at reconcile.

use std::borrow::Cow;

use dask_operator_core::gate::Refusal;
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::ResourceKind;
use dask_operator_runtime::contract::{Observation, ObservedKind, SchedulerState, Timestamp};
use serde_json::{Value, json};

use super::object::{self, Object};
use super::{AdmissionFinding, AdmissionOutcome, Request, logic_failed, relax};
use crate::Evaluator;
use crate::convert;
use crate::fields::FIELDS;
use crate::findings::apply_strictness;
use crate::plan::PlanError;
use crate::review::ReviewError;

/// Placeholder for the characters that the API server appends to a generated name.
const GENERATED_SUFFIX: &str = "xxxxx";

/// Maximum memory of a plan that is checked, in bytes. The plan of a resource without workers is small, unless it is made large on
/// purpose.
const MAX_PLAN_BYTES: usize = 64 << 20;

/// Adds findings about unknown fields in Pod and Service specs, and refusals of the plan by the policies and the gate.
pub(super) fn check(
    evaluator: &Evaluator,
    request: &Request<'_>,
    object: &Object<'_>,
    outcome: &mut AdmissionOutcome,
    now: Timestamp,
) {
    let mut unknown = apply_strictness(
        FIELDS.of_kubernetes(request.kind, request.object),
        evaluator.strict,
    );
    if let Some(old) = request.before() {
        relax(&mut unknown, || FIELDS.of_kubernetes(request.kind, old));
    }
    outcome.add_findings(unknown);
    if !outcome.is_allowed() {
        return;
    }
    // The plans of other kinds depend on a cluster that is not in the request.
    if matches!(request.kind, DaskKind::Cluster | DaskKind::Job) {
        check_plan(evaluator, request, object, outcome, now);
    }
}

/// Computes the plan of a new object and adds refusals by the policies and the gate.
fn check_plan(
    evaluator: &Evaluator,
    request: &Request<'_>,
    object: &Object<'_>,
    outcome: &mut AdmissionOutcome,
    now: Timestamp,
) {
    let stored = as_stored(object.value());
    let Ok(parent) = Parent::from_object(&stored) else {
        // The object is no valid Dask resource. The API server refuses it with its own message.
        return;
    };
    let text = match stored {
        Cow::Borrowed(_) => object.text().to_owned(),
        Cow::Owned(stored) => object::text(&stored),
    };
    let plugin = &evaluator.logic;
    let no_children = |kind: &ResourceKind| ObservedKind {
        kind: convert::contract_kind(kind),
        objects: Vec::new(),
    };
    let observation = Observation {
        parent: text,
        children: plugin.child_kinds.iter().map(no_children).collect(),
        related: Vec::new(),
        scheduler: SchedulerState::NotAsked,
        now,
        seed: parent.seed(),
        settings: plugin.settings.clone(),
    };
    let error = match evaluator.plan(&parent, &observation, Some(MAX_PLAN_BYTES)) {
        Ok(evaluated) => {
            for remark in evaluated.remarks {
                outcome.report(AdmissionFinding::new(&remark.title, "", remark.message));
            }
            return;
        }
        Err(error) => error,
    };
    match error {
        PlanError::Call { title, failure } => logic_failed(request, outcome, &title, &failure),
        PlanError::Invalid(findings) => outcome.add_findings(findings),
        PlanError::GaveUp { title, message } => logic_failed(request, outcome, &title, &message.into()),
        PlanError::TooLarge { bytes } => {
            let message = format!(
                "what would be made of it takes {} MiB of memory, and is not tried",
                bytes >> 20
            );
            outcome.warn(AdmissionFinding::new("", "", message));
        }
        PlanError::Refused { by, refusal } => add_violations(&by, refusal, outcome),
        PlanError::Review(error @ ReviewError::Refused { .. }) => outcome.refuse(review_refusal(&error)),
        PlanError::Review(error) => outcome.refuse_undecided(review_refusal(&error)),
    }
}

/// Adds the rules that a plan violates. `by` names the plugins that made it.
fn add_violations(by: &str, refusal: Refusal, outcome: &mut AdmissionOutcome) {
    outcome.refuse_more(refusal.more);
    for violation in refusal.violations {
        let child = violation
            .child
            .map(|child| format!("{child}, "))
            .unwrap_or_default();
        let message = format!(
            "what the component {by} makes of it would be refused: {child}{}: {}",
            violation.field, violation.message
        );
        outcome.refuse(AdmissionFinding::new("", "", message));
    }
}

/// Returns the refusal for an error of the policies' review.
fn review_refusal(error: &ReviewError) -> AdmissionFinding {
    let (ReviewError::Refused { title, .. }
    | ReviewError::Undecided { title, .. }
    | ReviewError::Overreached { title, .. }
    | ReviewError::Failed { title, .. }) = error;
    AdmissionFinding::new(
        title,
        "",
        format!("what would be made of it would be refused: {error}"),
    )
}

/// Returns the object with the metadata that only the API server sets, and without a status.
fn as_stored(object: &Value) -> Cow<'_, Value> {
    let has = |pointer| {
        let text = object.pointer(pointer).and_then(Value::as_str);
        text.is_some_and(|text| !text.is_empty())
    };
    let is_stored = ["/metadata/name", "/metadata/namespace", "/metadata/uid"]
        .into_iter()
        .all(has);
    if is_stored && object.get("status").is_none() {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() {
            let prefix = metadata
                .get("generateName")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let name = format!("{prefix}{GENERATED_SUFFIX}");
            metadata.insert("name".to_owned(), json!(name));
        }
        metadata.entry("namespace").or_insert_with(|| json!("default"));
        metadata
            .entry("uid")
            .or_insert_with(|| json!("00000000-0000-0000-0000-000000000000"));
    }
    Cow::Owned(object)
}
