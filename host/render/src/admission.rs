//! What is said of a Dask resource before it is stored: the order in which logic and policies are asked,
//! and what their answers come to.
//!
//! Pure: the operator's webhook calls [`mutate`] and [`validate`], the command line both ([`admit`]).
//! All that they ask comes in as a [`Chain`], all that they know of the request as a [`Request`].
//!
//! * [`mutate`]: `default` by the kind's logic, policies in their order (each sees what the one before it
//!   left), then `validate`, so that a wrong manifest is refused with a sentence before the API server
//!   refuses it by its schema.
//! * [`validate`]: `validate` with the object as it was before, policies again, and a dry run of the
//!   plan through the gate.
//!
//! What is never asked, and so can't be hindered by a broken component: see [`passes_unasked`].

mod chain;
mod dry_run;
mod object;
mod outcome;
mod patch;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use dask_operator_runtime::CallError;
use dask_operator_runtime::contract::{
    AdmissionRequest, AdmissionResponse, Error, Finding, Operation, Severity, Timestamp, Verdict,
};
use serde_json::Value;

pub use chain::{Chain, Decider, Request};
pub use outcome::{LeftOut, Outcome, Said};
pub use patch::check_patch;

use crate::convert;
use crate::fields::FIELDS;
use crate::findings::{keep_for_author, strictly};
use crate::logic::Failure;
use crate::policy::{LARGE, Mode, Policy};
use object::Object;

/// Whether a request passes without anybody being asked: objects that are being deleted, and updates that
/// leave the spec, the labels and the annotations as they are (finalizers, owners, status).
#[must_use]
pub fn passes_unasked(request: &Request<'_>) -> bool {
    let Some(old) = request.before() else {
        return false;
    };
    let leaves = |pointer: &str| request.object.pointer(pointer) == old.pointer(pointer);
    request.object.pointer("/metadata/deletionTimestamp").is_some()
        || (leaves("/spec") && leaves("/metadata/labels") && leaves("/metadata/annotations"))
}

/// Whether an update leaves the spec as it is. Such updates are not defaulted, and what was wrong before
/// may stay wrong: objects from before the webhook, or from before a policy, can still be labelled.
#[must_use]
pub fn leaves_spec(request: &Request<'_>) -> bool {
    request
        .before()
        .is_some_and(|old| request.object.get("spec") == old.get("spec"))
}

/// Fills in and changes an object.
#[must_use]
pub fn mutate(chain: &Chain<'_>, request: &Request<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    if passes_unasked(request) || request.operation == Operation::Delete {
        return outcome;
    }
    let mut object = Object::of(request);
    let shallow = leaves_spec(request);
    if !shallow {
        default(chain, request, &mut object, &mut outcome);
    }
    if outcome.is_allowed() {
        policies(chain, request, &mut object, &mut outcome, true);
    }
    if outcome.is_allowed() && !shallow {
        // Here it is known what the author wrote, and what was filled in.
        let mut found = findings(chain, request, &object, &mut outcome);
        keep_for_author(&mut found, request.object, object.value());
        outcome.findings(found);
    }
    outcome.changed = object.into_changed();
    outcome
}

/// Checks an object, defaulted or not. `now` is the time, which the dry run's plan is told.
#[must_use]
pub fn validate(chain: &Chain<'_>, request: &Request<'_>, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    if passes_unasked(request) {
        return outcome;
    }
    let mut object = Object::of(request);
    if request.operation == Operation::Delete {
        policies(chain, request, &mut object, &mut outcome, false);
        return outcome;
    }
    // The webhook that fills in may be off.
    default(chain, request, &mut object, &mut outcome);
    if outcome.is_allowed() {
        let mut found = findings(chain, request, &object, &mut outcome);
        if leaves_spec(request) || object.is_changed() {
            keep_for_author(&mut found, request.object, object.value());
            outcome.findings(found);
        } else {
            // The rest was said by who filled in.
            outcome.errors(found);
        }
    }
    if outcome.is_allowed() {
        policies(chain, request, &mut object, &mut outcome, false);
    }
    if outcome.is_allowed() && !leaves_spec(request) {
        dry_run::check(chain, request, &object, &mut outcome, now);
    }
    outcome
}

/// Both: what becomes of a manifest on a cluster where the webhook is on. The API server takes out nulls that mean nothing
/// before it asks, so they are taken out here.
#[must_use]
pub fn admit(chain: &Chain<'_>, request: &Request<'_>, now: Timestamp) -> Outcome {
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
    let mutated = mutate(chain, request);
    if !mutated.is_allowed() {
        return mutated;
    }
    let defaulted = Request {
        object: mutated.changed.as_ref().unwrap_or(request.object),
        ..*request
    };
    let validated = validate(chain, &defaulted, now);
    mutated.and(validated)
}

/// Has the object filled in.
fn default(chain: &Chain<'_>, request: &Request<'_>, object: &mut Object<'_>, outcome: &mut Outcome) {
    let decider = &chain.logic;
    let by = &decider.title;
    let defaulted: Value = match decider.logic.default(object.text(), &decider.settings) {
        Err(failure) => return undecided(request, outcome, by, &failure),
        Ok(Err(error)) => return wrong(request, outcome, by, error),
        // So it is with what was filled in before.
        Ok(Ok(text)) if text == object.text() => return,
        Ok(Ok(text)) => match serde_json::from_str(&text) {
            Ok(defaulted) => defaulted,
            Err(error) => return undecided(request, outcome, by, &error.into()),
        },
    };
    match renamed(object.value(), &defaulted) {
        Some(field) => {
            let message = format!("the component's `default` changed it, which nobody may ({by})");
            outcome.refuse(Said::new("", field, message));
        }
        None => object.replace(defaulted),
    }
}

/// What logic says of an object, and what its definition does not allow where logic says nothing of it. On updates, what was
/// wrong before is a warning, and what was unwise is known.
fn findings(
    chain: &Chain<'_>,
    request: &Request<'_>,
    object: &Object<'_>,
    outcome: &mut Outcome,
) -> Vec<Finding> {
    let decider = &chain.logic;
    let ask = |object: &str, old: Option<&str>| decider.logic.validate(object, old, &decider.settings);
    let mut findings = match ask(object.text(), object.before()) {
        Ok(findings) => strictly(findings, chain.strict),
        Err(failure) => {
            let severity = if leaves_spec(request) {
                Severity::Warning
            } else {
                outcome.undecided += 1;
                Severity::Error
            };
            return vec![Finding {
                severity,
                field: String::new(),
                message: no_answer(&decider.title, &failure),
            }];
        }
    };
    let mut refused = FIELDS.values(request.kind, object.value());
    refused.retain(|value| {
        let mut errors = findings.iter().filter(|said| said.severity == Severity::Error);
        !errors.any(|said| said.field == value.field)
    });
    findings.append(&mut refused);
    if let (Some(old), Some(text)) = (request.before(), object.before()) {
        forgive(&mut findings, || {
            let mut before = ask(text, None).unwrap_or_default();
            before.append(&mut FIELDS.values(request.kind, old));
            before
        });
    }
    findings
}

/// Looks for what was found in the object before, too: errors become warnings, and warnings are not said again.
fn forgive(findings: &mut Vec<Finding>, before: impl FnOnce() -> Vec<Finding>) {
    if findings.is_empty() {
        return;
    }
    let before = before();
    let known = said(&before);
    findings.retain_mut(|finding| {
        if !known.contains(&place_and_message(finding)) {
            return true;
        }
        let is_known = finding.severity == Severity::Warning;
        if finding.severity == Severity::Error {
            finding.severity = Severity::Warning;
        }
        !is_known
    });
}

/// What findings say, and where.
fn said(findings: &[Finding]) -> HashSet<(&str, &str)> {
    findings.iter().map(place_and_message).collect()
}

fn place_and_message(finding: &Finding) -> (&str, &str) {
    (&finding.field, &finding.message)
}

/// Asks the policies one after the other. Their patches count where `patching`.
fn policies(
    chain: &Chain<'_>,
    request: &Request<'_>,
    object: &mut Object<'_>,
    outcome: &mut Outcome,
    patching: bool,
) {
    for policy in &chain.policies {
        let response = match ask(policy, request, object.text(), object.before()) {
            Ok(response) => response,
            Err(Undecided { why, had_a_chance }) => {
                let said = Said::new(&policy.title, "", format!("it could not decide: {why}"));
                let is_harmless = leaves_spec(request) || request.operation == Operation::Delete;
                match policy.mode {
                    Mode::Monitor => outcome.report(said),
                    // A policy that is broken must not keep what is there from being labelled and deleted. One that had too
                    // little time, or was asked about too much, is not broken, and whoever asks could bring that about to
                    // get round it.
                    Mode::Protect if is_harmless && had_a_chance => outcome.warn(said),
                    Mode::Protect => outcome.refuse_undecided(said),
                }
                continue;
            }
        };
        for warning in response.warnings {
            outcome.warn(Said::new(&policy.title, "", warning));
        }
        match response.verdict {
            Verdict::Allow => {}
            Verdict::Refuse(findings) => {
                let findings = strictly(findings, chain.strict);
                refused(policy, request, object, outcome, findings);
            }
            Verdict::Patch(text) if patching => patch(policy, object, outcome, &text),
            Verdict::Patch(_) => {}
        }
        if !outcome.is_allowed() {
            return;
        }
    }
}

/// Why a policy could not decide.
struct Undecided {
    why: String,
    /// Whether there was time and room for it to decide: for large objects its own limits may leave none.
    had_a_chance: bool,
}

fn ask(
    policy: &Policy,
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
        Ok(answer) => answer.map_err(|why| Undecided {
            why,
            had_a_chance: !is_large,
        }),
        Err(failure) => Err(Undecided {
            why: failure.to_string(),
            had_a_chance: failure.downcast_ref::<CallError>().is_none_or(|call| {
                call.failure.is_of_component() && !call.failure.may_be_of_load() && !is_large
            }),
        }),
    }
}

/// A policy says no. It is not heeded where the spec stays as it is and the policy says the same of the
/// object as it was.
fn refused(
    policy: &Policy,
    request: &Request<'_>,
    object: &Object<'_>,
    outcome: &mut Outcome,
    findings: Vec<Finding>,
) {
    let before = match object.before().filter(|_| leaves_spec(request)) {
        Some(old) => match ask(policy, request, old, Some(old)).map(|response| response.verdict) {
            Ok(Verdict::Refuse(before)) => before,
            _ => Vec::new(),
        },
        None => Vec::new(),
    };
    let before = said(&before);
    for finding in findings {
        let known = before.contains(&place_and_message(&finding));
        let said = Said::new(&policy.title, &finding.field, &finding.message);
        match (finding.severity, policy.mode) {
            (Severity::Error, Mode::Monitor) => outcome.report(said),
            (Severity::Error, Mode::Protect) if !known => outcome.refuse(said),
            _ => outcome.warn(said),
        }
    }
}

fn patch(policy: &Policy, object: &mut Object<'_>, outcome: &mut Outcome, text: &str) {
    match (patch::apply(object.value(), text), policy.mode) {
        (Ok(patched), Mode::Protect) => object.replace(patched),
        (Ok(patched), Mode::Monitor) if patched == *object.value() => {}
        (Ok(_), Mode::Monitor) => {
            outcome.report(Said::new(
                &policy.title,
                "",
                format!("it would change the object: {text}"),
            ));
        }
        (Err((field, message)), Mode::Protect) => outcome.refuse(Said::new(&policy.title, field, message)),
        (Err((field, message)), Mode::Monitor) => outcome.report(Said::new(&policy.title, field, message)),
    }
}

/// What says which object it is, and must stay.
const IDENTITY: [(&str, &str); 6] = [
    ("/apiVersion", "apiVersion"),
    ("/kind", "kind"),
    ("/metadata/name", "metadata.name"),
    ("/metadata/namespace", "metadata.namespace"),
    ("/metadata/uid", "metadata.uid"),
    ("/metadata/generateName", "metadata.generateName"),
];

/// The field in which two objects are not the same one.
fn renamed(before: &Value, after: &Value) -> Option<&'static str> {
    let changed = |(pointer, _): &&(&str, &str)| before.pointer(pointer) != after.pointer(pointer);
    IDENTITY.iter().find(changed).map(|(_, field)| *field)
}

/// Logic says that the object is wrong.
fn wrong(request: &Request<'_>, outcome: &mut Outcome, by: &str, error: Error) {
    match error {
        Error::Invalid(findings) => outcome.findings(findings),
        Error::Failed(text) => undecided(request, outcome, by, &text.into()),
    }
}

/// Logic gave no answer.
fn undecided(request: &Request<'_>, outcome: &mut Outcome, by: &str, failure: &Failure) {
    let said = Said::new("", "", no_answer(by, failure));
    if leaves_spec(request) {
        outcome.warn(said);
    } else {
        outcome.refuse_undecided(said);
    }
}

fn no_answer(by: &str, failure: &Failure) -> String {
    format!("nobody can say whether this is right, because the component {by} failed: {failure}")
}
