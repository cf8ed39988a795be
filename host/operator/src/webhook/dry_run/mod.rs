//! Dry runs of templates by the API server, which finds everything that it will refuse later.
//!
//! [`requests`] creates the requests and [`add_results`] evaluates the responses, both on threads that may block and without I/O.
//! [`client`] sends the requests. While the API server is overloaded, [`breaker`] skips dry runs for a while.

mod breaker;
mod client;

use std::time::Duration;

use dask_operator_core::names::FIELD_MANAGER;
use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::admission::{AdmissionFinding, AdmissionOutcome};
use kube::api::PostParams;
use kube::core::request::{Error::BuildRequest, Request};
use serde_json::Value;

use super::templates::{self, Template};
pub(crate) use client::DryRunClient;

/// A dry run to send: a template and its request.
pub(crate) struct DryRunRequest {
    template: Template,
    request: kube::Result<http::Request<Vec<u8>>>,
}

impl DryRunRequest {
    fn bytes(&self) -> usize {
        self.request.as_ref().map_or(0, |request| request.body().len())
    }
}

/// Returns results for dry runs that were skipped for this reason.
fn skip(requests: Vec<DryRunRequest>, why: &'static str) -> Vec<DryRunResult> {
    let unknown_result = |DryRunRequest { template, .. }| DryRunResult {
        template,
        response: DryRunResponse::Skipped(why),
    };
    requests.into_iter().map(unknown_result).collect()
}

/// A dry run with its result.
pub(crate) struct DryRunResult {
    template: Template,
    response: DryRunResponse,
}

/// Result of a dry run.
enum DryRunResponse {
    /// The API server responded, or the request failed.
    Received(kube::Result<()>),
    /// The API server did not respond within this time.
    TimedOut(Duration),
    /// The request was not sent, for this reason.
    Skipped(&'static str),
}

/// Returns the dry runs for a resource: one for each template that differs from `old`.
pub(crate) fn requests(kind: DaskKind, object: &Value, old: Option<&Value>) -> Vec<DryRunRequest> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let request_for = |mut template: Template| {
        let request = request(namespace, &template);
        template.forget();
        DryRunRequest { template, request }
    };
    templates::changed(kind, object, old)
        .into_iter()
        .map(request_for)
        .collect()
}

/// Returns the dry-run request for a template.
fn request(namespace: &str, template: &Template) -> kube::Result<http::Request<Vec<u8>>> {
    let parameters = PostParams {
        dry_run: true,
        field_manager: Some(FIELD_MANAGER.to_owned()),
    };
    let body = serde_json::to_vec(&template.object).map_err(kube::Error::SerdeError)?;
    let mut request = Request::new(template.kind.path(namespace))
        .create(&parameters, body)
        .map_err(kube::Error::BuildRequest)?;
    if template.is_strict() {
        let uri = format!("{}&fieldValidation=Strict", request.uri());
        *request.uri_mut() = uri
            .parse()
            .map_err(|error: http::uri::InvalidUri| BuildRequest(error.into()))
            .map_err(kube::Error::BuildRequest)?;
    }
    Ok(request)
}

/// Adds the results of dry runs to `outcome`, as refusals and warnings.
pub(crate) fn add_results(results: &[DryRunResult], outcome: &mut AdmissionOutcome) {
    for DryRunResult { template, response } in results {
        let why = match response {
            DryRunResponse::Received(Ok(())) => continue,
            DryRunResponse::Received(Err(kube::Error::Api(status))) => {
                templates::add_error(template, status, outcome);
                continue;
            }
            DryRunResponse::Received(Err(error)) => error.to_string(),
            DryRunResponse::TimedOut(timeout) => format!(
                "the API server has not answered within {} ms",
                timeout.as_millis()
            ),
            DryRunResponse::Skipped(why) => (*why).to_owned(),
        };
        outcome.warnings.push(unknown_result(template, &why));
    }
}

/// Reason for a skipped dry run: the circuit breaker is open.
const TOO_SLOW: &str = "the API server was too slow for dry runs a moment ago";

/// Reason for a skipped dry run: too many bytes are in flight.
const TOO_MANY: &str = "there are too many dry runs at once";

/// Returns the warning for a template whose dry run has no result.
fn unknown_result(template: &Template, why: &str) -> AdmissionFinding {
    AdmissionFinding::new("", template.field, templates::not_checked(why))
}
