//! Decision about an admission request: calls the logic plugin and the policies in order, and combines their results.
//!
//! Pure: the operator's webhook calls [`mutate`] and [`validate`], the command line calls both with [`admit`]. The plugins to
//! call are passed as an [`Evaluator`], the request as a [`Request`].
//!
//! * [`mutate`]: calls `default` of the kind's logic plugin, then the policies in order, each with the object as the previous
//!   one changed it, and then `validate`. With the latter, an invalid manifest is refused with a helpful message before the
//!   API server refuses it by the schema.
//! * [`validate`]: calls `validate` with the object before the update, then the policies again, and checks a dry run of the
//!   plan with the gate.
//!
//! [`skips_plugins`] decides which requests are allowed without a call, so that a broken component can't block them.

mod dry_run;
mod object;
mod outcome;
mod patch;
mod request;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use dask_operator_runtime::CallError;
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Error, Finding, Operation, Severity, Timestamp, Verdict,
};
use serde_json::Value;

pub use outcome::{AdmissionFinding, AdmissionOutcome, LeftOut};
pub use patch::check_patch;
pub use request::Request;

use crate::Evaluator;
use crate::convert;
use crate::fields::FIELDS;
use crate::findings::{apply_strictness, retain_for_author};
use crate::logic::PluginFailure;
use crate::policy::{LARGE, Mode, PolicyPlugin};
use object::Object;

/// Returns true if a request is allowed without a call of any plugin: an update of an object that is being deleted, or an
/// update that does not change the spec, the labels or the annotations (finalizers, owner references, status).
#[must_use]
pub fn skips_plugins(request: &Request<'_>) -> bool {
    let Some(old) = request.before() else {
        return false;
    };
    let is_unchanged = |pointer: &str| request.object.pointer(pointer) == old.pointer(pointer);
    request.object.pointer("/metadata/deletionTimestamp").is_some()
        || (is_unchanged("/spec")
            && is_unchanged("/metadata/labels")
            && is_unchanged("/metadata/annotations"))
}

/// Returns true for an update that does not change the spec. No defaults are added to such an object, and errors that it had
/// before do not block the update: objects that are older than the webhook or than a policy can still be labelled.
#[must_use]
pub fn leaves_spec_unchanged(request: &Request<'_>) -> bool {
    request
        .before()
        .is_some_and(|old| request.object.get("spec") == old.get("spec"))
}

/// Decides about a request in the mutating webhook: applies defaults and patches, and validates the result.
#[must_use]
pub fn mutate(evaluator: &Evaluator, request: &Request<'_>) -> AdmissionOutcome {
    let mut outcome = AdmissionOutcome::default();
    if skips_plugins(request) || request.operation == Operation::Delete {
        return outcome;
    }
    let mut object = Object::of(request);
    let changes_spec = !leaves_spec_unchanged(request);
    if changes_spec {
        default(evaluator, request, &mut object, &mut outcome);
    }
    if outcome.is_allowed() {
        call_policies(evaluator, request, &mut object, &mut outcome, true);
    }
    if outcome.is_allowed() && changes_spec {
        // Only this webhook sees both the fields that the author wrote and those that were filled in.
        let mut found = findings(evaluator, request, &object, &mut outcome);
        retain_for_author(&mut found, request.object, object.value());
        outcome.add_findings(found);
    }
    outcome.changed = object.into_changed();
    outcome
}

/// Decides about a request in the validating webhook, for an object with or without defaults. `now` is the time that the
/// component receives for the plan of the dry run.
#[must_use]
pub fn validate(evaluator: &Evaluator, request: &Request<'_>, now: Timestamp) -> AdmissionOutcome {
    let mut outcome = AdmissionOutcome::default();
    if skips_plugins(request) {
        return outcome;
    }
    let mut object = Object::of(request);
    if request.operation == Operation::Delete {
        call_policies(evaluator, request, &mut object, &mut outcome, false);
        return outcome;
    }
    // The mutating webhook may be disabled.
    default(evaluator, request, &mut object, &mut outcome);
    if outcome.is_allowed() {
        let mut found = findings(evaluator, request, &object, &mut outcome);
        if leaves_spec_unchanged(request) || object.is_changed() {
            retain_for_author(&mut found, request.object, object.value());
            outcome.add_findings(found);
        } else {
            // The mutating webhook has reported the warnings.
            outcome.add_errors(found);
        }
    }
    if outcome.is_allowed() {
        call_policies(evaluator, request, &mut object, &mut outcome, false);
    }
    if outcome.is_allowed() && !leaves_spec_unchanged(request) {
        dry_run::check(evaluator, request, &object, &mut outcome, now);
    }
    outcome
}

/// Runs [`mutate`] and then [`validate`], as a cluster with both webhooks does. Nulls of fields that are not nullable are removed
/// first, because the API server removes them before it calls a webhook.
#[must_use]
pub fn admit(evaluator: &Evaluator, request: &Request<'_>, now: Timestamp) -> AdmissionOutcome {
    let without_nulls = |object: &Value| {
        let mut object = object.clone();
        FIELDS.prune_nulls(request.kind, &mut object);
        object
    };
    let (object, old) = (without_nulls(request.object), request.old.map(without_nulls));
    let request = &Request {
        object: &object,
        old: old.as_ref(),
        ..*request
    };
    let mutated = mutate(evaluator, request);
    if !mutated.is_allowed() {
        return mutated;
    }
    let defaulted = Request {
        object: mutated.changed.as_ref().unwrap_or(request.object),
        ..*request
    };
    let validated = validate(evaluator, &defaulted, now);
    mutated.merge(validated)
}

/// Applies the defaults of the logic plugin to the object.
fn default(
    evaluator: &Evaluator,
    request: &Request<'_>,
    object: &mut Object<'_>,
    outcome: &mut AdmissionOutcome,
) {
    let plugin = &evaluator.logic;
    let by = &plugin.title;
    let defaulted: Value = match plugin.logic.default(object.text(), &plugin.settings) {
        Err(failure) => return logic_failed(request, outcome, by, &failure),
        Ok(Err(error)) => return logic_error(request, outcome, by, error),
        // The object has its defaults already.
        Ok(Ok(text)) if text == object.text() => return,
        Ok(Ok(text)) => match serde_json::from_str(&text) {
            Ok(defaulted) => defaulted,
            Err(error) => return logic_failed(request, outcome, by, &error.into()),
        },
    };
    match changed_identity(object.value(), &defaulted) {
        Some(field) => {
            let message = format!("the component's `default` changed it, which is not allowed ({by})");
            outcome.refuse(AdmissionFinding::new("", field, message));
        }
        None => object.replace(defaulted),
    }
}

/// Returns the findings of the logic plugin about an object, and errors for values that the schema does not allow, unless the
/// plugin reports an error for the field. On updates, errors that the object had before become warnings, and warnings that it
/// had before are left out.
fn findings(
    evaluator: &Evaluator,
    request: &Request<'_>,
    object: &Object<'_>,
    outcome: &mut AdmissionOutcome,
) -> Vec<Finding> {
    let plugin = &evaluator.logic;
    let validate = |object: &str, old: Option<&str>| plugin.logic.validate(object, old, &plugin.settings);
    let mut findings = match validate(object.text(), object.before()) {
        Ok(findings) => apply_strictness(findings, evaluator.strict),
        Err(failure) => {
            let severity = if leaves_spec_unchanged(request) {
                Severity::Warning
            } else {
                outcome.undecided += 1;
                Severity::Error
            };
            return vec![Finding {
                severity,
                field: String::new(),
                message: failure_message(&plugin.title, &failure),
            }];
        }
    };
    let mut invalid_values = FIELDS.values(request.kind, object.value());
    invalid_values.retain(|value| {
        let mut errors = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error);
        !errors.any(|finding| finding.field == value.field)
    });
    findings.append(&mut invalid_values);
    if let (Some(old), Some(text)) = (request.before(), object.before()) {
        relax(&mut findings, || {
            let mut before = validate(text, None).unwrap_or_default();
            before.append(&mut FIELDS.values(request.kind, old));
            before
        });
    }
    findings
}

/// Relaxes findings that the object before the update had too: errors become warnings, and warnings are removed.
fn relax(findings: &mut Vec<Finding>, before: impl FnOnce() -> Vec<Finding>) {
    if findings.is_empty() {
        return;
    }
    let before = before();
    let known = field_message_pairs(&before);
    findings.retain_mut(|finding| {
        if !known.contains(&field_and_message(finding)) {
            return true;
        }
        let is_warning = finding.severity == Severity::Warning;
        if finding.severity == Severity::Error {
            finding.severity = Severity::Warning;
        }
        !is_warning
    });
}

/// Returns the field and message of each finding.
fn field_message_pairs(findings: &[Finding]) -> HashSet<(&str, &str)> {
    findings.iter().map(field_and_message).collect()
}

fn field_and_message(finding: &Finding) -> (&str, &str) {
    (&finding.field, &finding.message)
}

/// Calls the policies in order until one refuses the request. After a policy that could not decide, the next one is still
/// called. Patches are applied if `patching` is true, and ignored otherwise.
fn call_policies(
    evaluator: &Evaluator,
    request: &Request<'_>,
    object: &mut Object<'_>,
    outcome: &mut AdmissionOutcome,
    patching: bool,
) {
    for policy in &evaluator.policies {
        let response = match admit_by(policy, request, object.text(), object.before()) {
            Ok(response) => response,
            Err(Undecided { reason, is_broken }) => {
                let entry =
                    AdmissionFinding::new(&policy.title, "", format!("it could not decide: {reason}"));
                let is_harmless = leaves_spec_unchanged(request) || request.operation == Operation::Delete;
                match policy.mode {
                    Mode::Monitor => outcome.report(entry),
                    // A broken policy must not prevent existing objects from being labelled or deleted. A policy that had too
                    // little time, or that received too large an object, is not broken: a tenant could cause either one to
                    // bypass the policy.
                    Mode::Protect if is_harmless && is_broken => outcome.warn(entry),
                    Mode::Protect => outcome.refuse_undecided(entry),
                }
                continue;
            }
        };
        for warning in response.warnings {
            outcome.warn(AdmissionFinding::new(&policy.title, "", warning));
        }
        match response.verdict {
            Verdict::Allow => {}
            Verdict::Refuse(findings) => {
                let findings = apply_strictness(findings, evaluator.strict);
                add_refusal(policy, request, object, outcome, findings);
            }
            Verdict::Patch(text) if patching => apply_patch(policy, object, outcome, &text),
            Verdict::Patch(_) => {}
        }
        if !outcome.is_allowed() {
            return;
        }
    }
}

/// Failure of a policy to decide.
struct Undecided {
    reason: String,
    /// True if the policy itself is at fault. False if it had too little time, or if the object is so large that the policy may
    /// have exceeded its limits because of it.
    is_broken: bool,
}

/// Calls a policy.
fn admit_by(
    policy: &PolicyPlugin,
    request: &Request<'_>,
    object: &str,
    old: Option<&str>,
) -> Result<AdmissionResponse, Undecided> {
    let is_large = object.len().max(old.map_or(0, str::len)) > LARGE;
    let request = AdmissionRequest {
        kind: convert::dask_kind(request.kind),
        operation: request.operation,
        object: object.to_owned(),
        old: old.map(ToOwned::to_owned),
        user_info: request.user_info.to_owned(),
        dry_run: request.dry_run,
        settings: policy.settings.to_string(),
    };
    match policy.rules.admit(&request) {
        Ok(answer) => answer.map_err(|reason| Undecided {
            reason,
            is_broken: !is_large,
        }),
        Err(failure) => Err(Undecided {
            reason: failure.to_string(),
            is_broken: failure.downcast_ref::<CallError>().is_none_or(|call| {
                call.failure.is_of_component() && !call.failure.may_be_of_load() && !is_large
            }),
        }),
    }
}

/// Adds the findings of a policy that refuses the object. If the update does not change the spec, errors that the policy also
/// finds in the object before the update become warnings.
fn add_refusal(
    policy: &PolicyPlugin,
    request: &Request<'_>,
    object: &Object<'_>,
    outcome: &mut AdmissionOutcome,
    findings: Vec<Finding>,
) {
    let before = match object.before().filter(|_| leaves_spec_unchanged(request)) {
        Some(old) => match admit_by(policy, request, old, Some(old)).map(|response| response.verdict) {
            Ok(Verdict::Refuse(before)) => before,
            _ => Vec::new(),
        },
        None => Vec::new(),
    };
    let before = field_message_pairs(&before);
    for finding in findings {
        let known = before.contains(&field_and_message(&finding));
        let entry = AdmissionFinding::new(&policy.title, &finding.field, &finding.message);
        match (finding.severity, policy.mode) {
            (Severity::Error, Mode::Monitor) => outcome.report(entry),
            (Severity::Error, Mode::Protect) if !known => outcome.refuse(entry),
            _ => outcome.warn(entry),
        }
    }
}

/// Applies a policy's patch, or reports it if the policy is in monitor mode.
fn apply_patch(policy: &PolicyPlugin, object: &mut Object<'_>, outcome: &mut AdmissionOutcome, text: &str) {
    match (patch::apply(object.value(), text), policy.mode) {
        (Ok(patched), Mode::Protect) => object.replace(patched),
        (Ok(patched), Mode::Monitor) if patched == *object.value() => {}
        (Ok(_), Mode::Monitor) => {
            outcome.report(AdmissionFinding::new(
                &policy.title,
                "",
                format!("it would change the object: {text}"),
            ));
        }
        (Err((field, message)), Mode::Protect) => {
            outcome.refuse(AdmissionFinding::new(&policy.title, field, message))
        }
        (Err((field, message)), Mode::Monitor) => {
            outcome.report(AdmissionFinding::new(&policy.title, field, message))
        }
    }
}

/// Fields that identify an object and must not change, as JSON pointers and as field paths.
const IDENTITY: [(&str, &str); 6] = [
    ("/apiVersion", "apiVersion"),
    ("/kind", "kind"),
    ("/metadata/name", "metadata.name"),
    ("/metadata/namespace", "metadata.namespace"),
    ("/metadata/uid", "metadata.uid"),
    ("/metadata/generateName", "metadata.generateName"),
];

/// Returns the first identifying field in which two objects differ; `None` if they are the same object.
fn changed_identity(before: &Value, after: &Value) -> Option<&'static str> {
    let changed = |(pointer, _): &&(&str, &str)| before.pointer(pointer) != after.pointer(pointer);
    IDENTITY.iter().find(changed).map(|(_, field)| *field)
}

/// Adds the error that the logic plugin returned.
fn logic_error(request: &Request<'_>, outcome: &mut AdmissionOutcome, by: &str, error: Error) {
    match error {
        Error::Invalid(findings) => outcome.add_findings(findings),
        Error::Failed(text) => logic_failed(request, outcome, by, &text.into()),
    }
}

/// Adds the failure of a call of the logic plugin. It blocks the request, unless the spec does not change.
fn logic_failed(request: &Request<'_>, outcome: &mut AdmissionOutcome, by: &str, failure: &PluginFailure) {
    let entry = AdmissionFinding::new("", "", failure_message(by, failure));
    if leaves_spec_unchanged(request) {
        outcome.warn(entry);
    } else {
        outcome.refuse_undecided(entry);
    }
}

/// Returns the message for a failed call of the logic plugin.
fn failure_message(by: &str, failure: &PluginFailure) -> String {
    format!("this can't be checked, because the component {by} failed: {failure}")
}
