//! What the API server said of a template: whether that is a refusal or a warning.

use dask_operator_core::category::{ApiError, Cause};
use dask_operator_render::admission::{Outcome, Said};
use kube::core::Status;

use super::Template;

/// How the API server begins what another webhook says.
const WEBHOOK: &str = "admission webhook ";

/// What the API server says where another webhook can't be asked in a dry run.
const NO_DRY_RUN: &str = "does not support dry run";

/// Adds what the API server said of a template that it refuses. What it will refuse again for as long as the template is the
/// same is refused. What depends on others (quotas, Pod Security, policies, ports in use) and may change is a warning.
pub fn refused(template: &Template, status: &Status, outcome: &mut Outcome) {
    let made = &template.kind.resource.kind;
    let whole = |message: String| Said::new("", template.field, message);
    let now = |message: &str| format!("the API server would refuse the {made} now: {message}");
    match (status.code, &*status.message) {
        // It has passed all else. Who has the name may be on its way out; who is not is told of when the operator meets it.
        (409, _) if status.reason == "AlreadyExists" => {}
        (_, message) if message.contains(NO_DRY_RUN) => outcome.warnings.push(whole(untried(message))),
        (403, message) => outcome.warnings.push(whole(now(message))),
        // A webhook that gives no code is answered for with 400.
        (400, message) if message.starts_with(WEBHOOK) => outcome.warnings.push(whole(now(message))),
        (400, message) => outcome
            .refusals
            .push(whole(format!("the API server takes no such {made}: {message}"))),
        (422, message) => {
            let causes: Vec<_> = status
                .details
                .iter()
                .flat_map(|details| &details.causes)
                .collect();
            // A ValidatingAdmissionPolicy names no field.
            if causes.iter().all(|cause| cause.field.is_empty()) {
                outcome.warnings.push(whole(now(message)));
            }
            if let Some(name) = template.name() {
                for cause in causes.iter().filter(|cause| cause.field == "metadata.name") {
                    let message = format!(
                        "the API server takes no {made} `{name}`, which is made for it: {}: choose another name",
                        cause.message
                    );
                    outcome.refusals.push(Said::new("", &cause.field, message));
                }
            }
            for cause in causes.iter().filter(|cause| cause.field.starts_with("spec")) {
                let field = cause.field.replacen("spec", template.field, 1);
                if is_in_use(&cause.message) {
                    outcome.warnings.push(Said::new("", &field, now(&cause.message)));
                } else {
                    outcome.refusals.push(Said::new("", &field, &*cause.message));
                }
            }
        }
        (_, message) => outcome.warnings.push(whole(untried(message))),
    }
}

/// Whether another object has what is asked for, which it may give back.
fn is_in_use(message: &str) -> bool {
    let error = ApiError {
        code: 422,
        reason: String::new(),
        message: message.to_owned(),
        retry_after: None,
    };
    Cause::of(&error) == Cause::InUse
}

/// What is said where the API server was not able to answer.
pub fn untried(why: &str) -> String {
    format!("whether the API server takes it is not known yet: {why}")
}

#[cfg(test)]
mod tests {
    use dask_operator_core::parent::DaskKind;
    use kube::core::response::{StatusCause, StatusDetails};

    use super::super::changed;
    use super::super::tests::cluster;
    use super::*;

    #[test]
    fn what_is_said_of_a_name() {
        let templates = changed(DaskKind::Cluster, &cluster(), None);
        let said = |template: usize, code, reason: &str| {
            let status = failure(
                code,
                reason,
                "metadata.name",
                "Invalid value: \"1-scheduler\": no",
            );
            let mut outcome = Outcome::default();
            refused(&templates[template], &status, &mut outcome);
            (outcome.refusal(), outcome.notices())
        };
        let nothing = (String::new(), Vec::new());
        let refusal = "metadata.name: the API server takes no Service `c-scheduler`, which is made for it: Invalid value: \
                       \"1-scheduler\": no: choose another name";
        assert_eq!(said(1, 422, "Invalid"), (refusal.to_owned(), Vec::new()));
        assert_eq!(said(2, 422, "Invalid"), nothing, "a pod's name is generated");
        assert_eq!(said(1, 409, "AlreadyExists"), nothing);
        assert_eq!(said(1, 409, "Conflict").1.len(), 1);
    }

    /// An answer of the API server with one cause.
    fn failure(code: u16, reason: &str, field: &str, message: &str) -> Status {
        let cause = StatusCause {
            reason: "FieldValueInvalid".into(),
            message: message.into(),
            field: field.into(),
        };
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: "Pod".into(),
            uid: String::new(),
            causes: vec![cause],
            retry_after_seconds: 0,
        };
        Status::failure(message, reason)
            .with_code(code)
            .with_details(details)
    }

    #[test]
    fn what_the_api_server_said() {
        let template = &changed(DaskKind::Cluster, &cluster(), None)[2];
        let said = |code, field: &str, message: &str| {
            let status = failure(code, "Invalid", field, message);
            let mut outcome = Outcome::default();
            refused(template, &status, &mut outcome);
            (outcome.refusal(), outcome.notices().join("; "))
        };
        let cases = [
            (
                422,
                "spec.containers[0].name",
                "no good",
                "spec.worker.spec.containers[0].name: no good",
                "",
            ),
            (422, "metadata.generateName", "no good", "", ""),
            (
                422,
                "spec.ports[0].nodePort",
                "Invalid value: 30086: provided port is already allocated",
                "",
                "spec.worker.spec.ports[0].nodePort: the API server would refuse the Pod now: Invalid value: 30086: provided port is \
                 already allocated",
            ),
            (
                422,
                "",
                "ValidatingAdmissionPolicy 'p' denied request",
                "",
                "spec.worker.spec: the API server would refuse the Pod now: ValidatingAdmissionPolicy 'p' denied request",
            ),
            (
                400,
                "",
                "no good",
                "spec.worker.spec: the API server takes no such Pod: no good",
                "",
            ),
            (
                400,
                "",
                "admission webhook \"w\" denied the request: no",
                "",
                "spec.worker.spec: the API server would refuse the Pod now: admission webhook \"w\" denied the request: no",
            ),
            (
                400,
                "",
                "admission webhook \"w\" does not support dry run",
                "",
                "spec.worker.spec: whether the API server takes it is not known yet: admission webhook \"w\" does not support dry run",
            ),
            (
                403,
                "",
                "no good",
                "",
                "spec.worker.spec: the API server would refuse the Pod now: no good",
            ),
            (
                503,
                "",
                "no good",
                "",
                "spec.worker.spec: whether the API server takes it is not known yet: no good",
            ),
        ];
        for (code, field, message, refusal, notice) in cases {
            assert_eq!(
                said(code, field, message),
                (refusal.to_owned(), notice.to_owned()),
                "{code} {field}"
            );
        }
    }
}
