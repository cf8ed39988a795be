//! Classification of the API server's errors about a template, as refusals or warnings.

use dask_operator_core::api_error::{ApiError, ErrorClass};
use dask_operator_evaluator::admission::{AdmissionFinding, AdmissionOutcome};
use kube::core::Status;

use super::Template;

/// Prefix of messages from other webhooks.
const WEBHOOK: &str = "admission webhook ";

/// Part of the API server's message if another webhook does not support dry runs.
const NO_DRY_RUN: &str = "does not support dry run";

/// Adds the API server's error about a template to `outcome`. Errors that recur as long as the template is unchanged are
/// refusals. Errors that depend on other objects and may go away (quotas, Pod Security, policies, ports in use) are warnings.
pub(crate) fn add_error(template: &Template, status: &Status, outcome: &mut AdmissionOutcome) {
    let kind = &template.kind.resource.kind;
    let finding = |message: String| AdmissionFinding::new("", template.field, message);
    let refused_now = |message: &str| format!("the API server would refuse the {kind} now: {message}");
    match (status.code, &*status.message) {
        // The template has passed all other checks. The object with this name may be about to be deleted. If it is not, the
        // operator reports it when it creates the object.
        (409, _) if status.reason == "AlreadyExists" => {}
        (_, message) if message.contains(NO_DRY_RUN) => outcome.warnings.push(finding(not_checked(message))),
        (403, message) => outcome.warnings.push(finding(refused_now(message))),
        // For a webhook that returns no code, the API server responds with 400.
        (400, message) if message.starts_with(WEBHOOK) => {
            outcome.warnings.push(finding(refused_now(message)))
        }
        (400, message) => outcome
            .refusals
            .push(finding(format!("the API server takes no such {kind}: {message}"))),
        (422, message) => {
            let causes: Vec<_> = status
                .details
                .iter()
                .flat_map(|details| &details.causes)
                .collect();
            // Errors of a ValidatingAdmissionPolicy name no field.
            if causes.iter().all(|cause| cause.field.is_empty()) {
                outcome.warnings.push(finding(refused_now(message)));
            }
            if let Some(name) = template.name() {
                for cause in causes.iter().filter(|cause| cause.field == "metadata.name") {
                    let message = format!(
                        "the API server takes no {kind} `{name}`, which is made for it: {}: choose another name",
                        cause.message
                    );
                    outcome
                        .refusals
                        .push(AdmissionFinding::new("", &cause.field, message));
                }
            }
            for cause in causes.iter().filter(|cause| cause.field.starts_with("spec")) {
                let field = cause.field.replacen("spec", template.field, 1);
                if is_in_use(&cause.message) {
                    outcome
                        .warnings
                        .push(AdmissionFinding::new("", &field, refused_now(&cause.message)));
                } else {
                    outcome
                        .refusals
                        .push(AdmissionFinding::new("", &field, &*cause.message));
                }
            }
        }
        (_, message) => outcome.warnings.push(finding(not_checked(message))),
    }
}

/// Returns whether another object has the requested value, such as a port, and may release it.
fn is_in_use(message: &str) -> bool {
    let error = ApiError {
        code: 422,
        reason: String::new(),
        message: message.to_owned(),
        retry_after: None,
    };
    ErrorClass::of(&error) == ErrorClass::InUse
}

/// Returns the warning for a template that the API server could not check.
pub(crate) fn not_checked(why: &str) -> String {
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
    fn only_errors_about_final_names_are_refusals() {
        let templates = changed(DaskKind::Cluster, &cluster(), None);
        let findings = |template: usize, code, reason: &str| {
            let status = failure(
                code,
                reason,
                "metadata.name",
                "Invalid value: \"1-scheduler\": no",
            );
            let mut outcome = AdmissionOutcome::default();
            add_error(&templates[template], &status, &mut outcome);
            (outcome.refusal(), outcome.notices())
        };
        let nothing = (String::new(), Vec::new());
        let refusal = "metadata.name: the API server takes no Service `c-scheduler`, which is made for it: Invalid value: \
                       \"1-scheduler\": no: choose another name";
        assert_eq!(findings(1, 422, "Invalid"), (refusal.to_owned(), Vec::new()));
        assert_eq!(findings(2, 422, "Invalid"), nothing, "a pod's name is generated");
        assert_eq!(findings(1, 409, "AlreadyExists"), nothing);
        assert_eq!(findings(1, 409, "Conflict").1.len(), 1);
    }

    /// Returns an error status with one cause.
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
    fn permanent_errors_are_refusals_and_others_are_warnings() {
        let template = &changed(DaskKind::Cluster, &cluster(), None)[2];
        let findings = |code, field: &str, message: &str| {
            let status = failure(code, "Invalid", field, message);
            let mut outcome = AdmissionOutcome::default();
            add_error(template, &status, &mut outcome);
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
                findings(code, field, message),
                (refusal.to_owned(), notice.to_owned()),
                "{code} {field}"
            );
        }
    }
}
