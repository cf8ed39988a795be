//! Conversion of a decision into an admission response. No I/O.

use dask_operator_evaluator::admission::AdmissionOutcome;
use serde_json::Value;

use super::admission_review::{Response, Status};
use super::decide::Decision;
use super::input::Step;

/// Returns the response to the request with this UID, in JSON. `before` is the object of the request.
///
/// # Errors
///
/// Returns an error if the response can't be serialized.
pub(crate) fn to_json(
    uid: &str,
    step: Step,
    before: &Value,
    decision: &Decision,
) -> serde_json::Result<Vec<u8>> {
    let mut response = Response::allowed(uid);
    if let Decision::Decided(outcome) | Decision::Failed(outcome) = decision {
        add_outcome(&mut response, step, before, outcome)?;
    }
    response.to_json()
}

/// Adds the outcome of a decision to the response.
fn add_outcome(
    response: &mut Response<'_>,
    step: Step,
    before: &Value,
    outcome: &AdmissionOutcome,
) -> serde_json::Result<()> {
    response.warnings = outcome.notices();
    if outcome.is_allowed() {
        // A validating webhook may not change the object.
        if step == Step::Mutate
            && let Some(changed) = &outcome.changed
        {
            response.patch(&json_patch::diff(before, changed))?;
        }
        return Ok(());
    }
    // The reason that kubectl shows in brackets: Invalid, or Forbidden if only policies refuse the request. If the only reason is
    // that a component could not decide, the same request may pass later, and clients should retry.
    let forbidden = outcome.refusals.iter().all(|refusal| !refusal.policy.is_empty());
    let (code, reason) = if outcome.may_pass_later() {
        (503, "ServiceUnavailable")
    } else if forbidden {
        (403, "Forbidden")
    } else {
        (422, "Invalid")
    };
    response.refuse(Status {
        message: outcome.refusal(),
        reason,
        code,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use dask_operator_evaluator::admission::AdmissionFinding;
    use serde_json::json;

    use super::*;

    fn answered(step: Step, change: impl FnOnce(&mut AdmissionOutcome)) -> Value {
        let before = json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster",
            "metadata": {"name": "c", "namespace": "n"}, "spec": {"a": 1}});
        let mut outcome = AdmissionOutcome::default();
        change(&mut outcome);
        let answer = to_json("u", step, &before, &Decision::Decided(outcome));
        let answer = answer
            .ok()
            .and_then(|answer| serde_json::from_slice(&answer).ok());
        let mut answer: Value = answer.unwrap_or_default();
        assert_eq!(answer["response"]["uid"], "u");
        answer["response"].take()
    }

    #[test]
    fn responses_match_the_decision() {
        let same = answered(Step::Mutate, |_| ());
        assert_eq!((&same["allowed"], &same["patch"]), (&json!(true), &Value::Null));
        let change = |outcome: &mut AdmissionOutcome| {
            let metadata = json!({"name": "c", "namespace": "n"});
            outcome.changed = Some(
                json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "metadata": metadata,
                "spec": {"a": 1, "b": 2}}),
            );
        };
        let patched = answered(Step::Mutate, change);
        let patch = STANDARD.decode(patched["patch"].as_str().unwrap_or_default());
        let patch: Value = serde_json::from_slice(&patch.unwrap_or_default()).unwrap_or_default();
        assert_eq!(patched["patchType"], "JSONPatch");
        assert_eq!(patch, json!([{"op": "add", "path": "/spec/b", "value": 2}]));
        let checked = answered(Step::Validate, change);
        assert_eq!(checked["patch"], Value::Null);
        let invalid = answered(Step::Mutate, |outcome| {
            outcome.refusals.push(AdmissionFinding::new("", "spec.a", "no"))
        });
        assert_eq!(invalid["allowed"], false);
        assert_eq!(invalid["status"]["message"], "spec.a: no");
        assert_eq!(invalid["status"]["reason"], "Invalid");
        let forbidden = answered(Step::Mutate, |outcome| {
            outcome.refusals.push(AdmissionFinding::new("p", "", "no"))
        });
        assert_eq!(forbidden["status"]["code"], 403);
        for policy in ["", "p"] {
            let undecided = answered(Step::Mutate, |outcome| {
                outcome.undecided = 1;
                outcome
                    .refusals
                    .push(AdmissionFinding::new(policy, "", "it is not known yet"));
            });
            assert_eq!(undecided["status"]["code"], 503);
            assert_eq!(undecided["status"]["reason"], "ServiceUnavailable");
        }
        // A request that another policy forbids is not retried.
        let forbidden = answered(Step::Mutate, |outcome| {
            outcome.undecided = 1;
            outcome.refusals = vec![
                AdmissionFinding::new("p", "", "it could not decide"),
                AdmissionFinding::new("q", "", "no"),
            ];
        });
        assert_eq!(forbidden["status"]["code"], 403);
        let warned = answered(Step::Mutate, |outcome| {
            outcome.warnings.push(AdmissionFinding::new("", "spec.a", "hm"))
        });
        assert_eq!(warned["warnings"], json!(["spec.a: hm"]));
    }
}
