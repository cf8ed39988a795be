//! Processing of an admission request, from its bytes to the response.
//!
//! All work that grows with the size of a request runs on the threads of the [`Executor`]. First the request is classified
//! ([`Handler::classify`]), which yields the namespace to count it by and the memory that it takes. Then there are up to three
//! runs: parse and decide; decide, if plugins of the namespace must be called or the informer cache had to catch up; and write
//! the response, if there were dry runs. Between the runs, only the text of the request or the decision is held in memory.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use dask_operator_core::text;
use dask_operator_evaluator::admission::{AdmissionFinding, AdmissionOutcome};
use dask_operator_evaluator::logic::PluginOwner;
use dask_operator_runtime::contract::Operation;
use http::StatusCode;
use serde_json::Value;
use tracing::{info, warn};

use super::decide::{Decider, Decision};
use super::dry_run::{self, DryRunClient, DryRunRequest, DryRunResult};
use super::executor::{Executor, ExecutorError, RequestCost, TimeLimits};
use super::input::{AdmissionInput, Step, Target};
use super::metrics::{Admission, WebhookMetrics};
use super::parse::{self, Outline, ParseError, ParsedRequest};
use super::response;
use super::result::AdmissionResult;
use crate::recording::Recording;
use crate::server::{HttpResponse, http_response};

/// Maximum bytes of a line in the log, and of the error message for an unreadable request.
const LINE: usize = 2048;

/// Maximum bytes of a scale request that may wait for the informer cache. Such requests are usually small.
const SMALL: usize = 64 << 10;

/// Maximum bytes of the namespace and name of an object in a line of the log.
const TITLE: usize = 320;

/// Maximum lines of the log for the reports of monitoring policies about one request.
const LINES: usize = 10;

/// Handler of admission requests.
pub(crate) struct Handler {
    /// Components and other inputs of decisions.
    pub(crate) decider: Decider,
    /// Threads on which requests are decided.
    pub(crate) executor: Executor,
    /// Sender of dry runs.
    pub(crate) dry_run: DryRunClient,
    /// Metrics of the webhook.
    pub(crate) metrics: WebhookMetrics,
    /// Recorder of requests.
    pub(crate) recording: Recording,
}

/// Description of a request for the log and for metrics.
#[derive(Debug)]
struct RequestLabels {
    kind: &'static str,
    operation: &'static str,
    title: String,
}

/// A response, and the result that it is counted as.
struct Reply {
    result: AdmissionResult,
    response: HttpResponse,
}

/// A decision whose response is not written yet.
struct PendingReply {
    uid: String,
    decision: Decision,
}

/// A classified request.
pub(crate) struct Classification {
    cost: RequestCost,
    start: Instant,
}

/// The next step for a request.
enum Next {
    /// Send the response.
    Respond(Reply),
    /// Decide in a run of its own, because plugins of the namespace must be called.
    CallTenantPlugins,
    /// Wait until the informer cache has the resource that is scaled.
    CatchUp(ParsedRequest),
    /// Send dry runs to the API server.
    DryRun(PendingReply, Vec<DryRunRequest>),
}

impl Handler {
    /// Classifies a request with these bytes.
    ///
    /// # Errors
    ///
    /// Returns the response if the request needs no decision or can't be read.
    pub(crate) async fn classify(
        self: &Arc<Self>,
        step: Step,
        body: &Bytes,
        limits: TimeLimits,
    ) -> Result<Classification, HttpResponse> {
        let start = Instant::now();
        let labels = Arc::new(OnceLock::new());
        let classify = {
            let (handler, body, labels) = (self.clone(), body.clone(), labels.clone());
            move || handler.classify_body(&body, &labels)
        };
        let reply = match self.executor.run_short(limits, body.len(), classify).await {
            Ok(ControlFlow::Continue(cost)) => return Ok(Classification { cost, start }),
            Ok(ControlFlow::Break(reply)) => reply,
            Err(error) => executor_error(&error, None),
        };
        Err(self.count(step, labels.get(), reply, start))
    }

    /// Answers a request with these bytes after its classification.
    pub(crate) async fn respond(
        self: &Arc<Self>,
        step: Step,
        body: Bytes,
        classification: Classification,
        limits: TimeLimits,
    ) -> HttpResponse {
        let Classification { cost, start } = classification;
        let labels = Arc::new(OnceLock::new());
        let reply = self.process(step, body, cost, limits, labels.clone()).await;
        let reply = reply.unwrap_or_else(|error| executor_error(&error, labels.get()));
        self.count(step, labels.get(), reply, start)
    }

    /// Returns the response to a request that is not read because there are too many.
    pub(crate) fn busy(&self, step: Step) -> HttpResponse {
        let reply = executor_error(&ExecutorError::Busy, None);
        self.count(step, None, reply, Instant::now())
    }

    /// Counts a response in the metrics and returns it.
    fn count(
        &self,
        step: Step,
        labels: Option<&RequestLabels>,
        reply: Reply,
        start: Instant,
    ) -> HttpResponse {
        let counted = Admission {
            step: step.as_str(),
            kind: labels.map_or("", |labels| labels.kind),
            operation: labels.map_or("", |labels| labels.operation),
            outcome: reply.result.as_str(),
        };
        self.metrics.answered(&counted, start.elapsed());
        reply.response
    }

    /// Classifies a request. Breaks with its response if it needs no decision or can't be read.
    fn classify_body(
        &self,
        body: &Bytes,
        labels: &OnceLock<RequestLabels>,
    ) -> ControlFlow<Reply, RequestCost> {
        match parse::outline(body, self.decider.own_user.as_deref()) {
            Ok(Outline::Decide { namespace, bytes }) => ControlFlow::Continue(RequestCost {
                owner: self.decider.owner(&namespace),
                namespace,
                text: body.len(),
                tree: bytes,
            }),
            Ok(Outline::Skip { uid, kind }) => {
                let labels = labels.get_or_init(|| RequestLabels {
                    kind: kind.kind(),
                    operation: "update",
                    title: String::new(),
                });
                let pending = PendingReply {
                    uid,
                    decision: Decision::Skipped,
                };
                ControlFlow::Break(self.finish(&pending, Step::Validate, &Value::Null, Some(labels)))
            }
            Err(error) => ControlFlow::Break(parse_error(&error)),
        }
    }

    /// Decides a request in one run on the executor's threads after the other.
    async fn process(
        self: &Arc<Self>,
        step: Step,
        mut body: Bytes,
        cost: RequestCost,
        limits: TimeLimits,
        labels: Arc<OnceLock<RequestLabels>>,
    ) -> Result<Reply, ExecutorError> {
        // Only the parsed request shows whether components must be called, so the first run does not count as one that calls
        // plugins of the namespace.
        let first = RequestCost {
            owner: PluginOwner::Administrator,
            ..cost.clone()
        };
        let may_call_plugins = cost.owner == PluginOwner::Administrator;
        let parse = {
            let (handler, body, labels) = (self.clone(), body.clone(), labels.clone());
            move || handler.parse(step, &body, &labels, may_call_plugins)
        };
        let mut next = self.executor.run(first, limits.end, limits, parse).await?;
        loop {
            let (handler, labels) = (self.clone(), labels.clone());
            next = match next {
                Next::Respond(reply) => return Ok(reply),
                Next::CallTenantPlugins => {
                    let body = body.clone();
                    let parse = move || handler.parse(step, &body, &labels, true);
                    self.executor.run(cost.clone(), limits.end, limits, parse).await?
                }
                Next::CatchUp(parsed) => {
                    // Memory that is held during the wait is not counted, so only small requests wait, and only the parsed
                    // request is held.
                    let is_small = body.len() <= SMALL;
                    body = Bytes::new();
                    if is_small {
                        self.decider.catch_up(&parsed.input, limits.end).await;
                    }
                    let text = self.decider.text_bytes(&parsed.input);
                    let weigh = {
                        let handler = self.clone();
                        move || (handler.decider.bytes(&parsed.input), parsed)
                    };
                    let (bytes, parsed) = self.executor.run_short(limits, text, weigh).await?;
                    match parse::check_bytes(bytes) {
                        Ok(tree) => {
                            let cost = RequestCost { tree, ..cost.clone() };
                            let decide = move || handler.decide(parsed, &labels);
                            self.executor.run(cost, limits.end, limits, decide).await?
                        }
                        Err(error) => Next::Respond(parse_error(&error)),
                    }
                }
                Next::DryRun(mut pending, requests) => {
                    // During dry runs, only their requests and the decision are held in memory.
                    body = Bytes::new();
                    let results = self.dry_run.send(requests, limits.end).await;
                    let finish = move || {
                        add_dry_runs(&results, &mut pending.decision);
                        Next::Respond(handler.finish(&pending, Step::Validate, &Value::Null, labels.get()))
                    };
                    let cost = RequestCost {
                        owner: PluginOwner::Administrator,
                        text: 0,
                        tree: 0,
                        ..cost.clone()
                    };
                    self.executor.run(cost, limits.deadline, limits, finish).await?
                }
            };
        }
    }

    /// Parses a request. Decides it at once if no component must be called or if `may_call_plugins` is true.
    fn parse(
        &self,
        step: Step,
        body: &Bytes,
        labels: &OnceLock<RequestLabels>,
        may_call_plugins: bool,
    ) -> Next {
        let parsed = match parse::parse(step, body) {
            Ok(parsed) => parsed,
            Err(error) => return Next::Respond(parse_error(&error)),
        };
        let input = &parsed.input;
        labels.get_or_init(|| RequestLabels {
            kind: input.target.kind(),
            operation: input.operation_name(),
            title: title(&input.object),
        });
        let is_skipped = self.decider.is_skipped(input);
        // Requests for plugins don't take this way: a tenant whose plugins have used up their time must be able to install one
        // that takes less.
        if !is_skipped && !may_call_plugins && matches!(input.target, Target::Dask(_)) {
            return Next::CallTenantPlugins;
        }
        self.record(input, body);
        if !is_skipped && matches!(input.target, Target::Scale(_)) {
            return Next::CatchUp(parsed);
        }
        self.decide(parsed, labels)
    }

    fn decide(&self, parsed: ParsedRequest, labels: &OnceLock<RequestLabels>) -> Next {
        let ParsedRequest { input, uid } = parsed;
        let decision = self.decider.decide(&input);
        let requests = self.decider.dry_runs(&input, &decision);
        let pending = PendingReply { uid, decision };
        if requests.is_empty() {
            Next::Respond(self.finish(&pending, input.step, &input.object, labels.get()))
        } else {
            Next::DryRun(pending, requests)
        }
    }

    /// Writes the log and the response. `before` is the object of the request.
    fn finish(
        &self,
        pending: &PendingReply,
        step: Step,
        before: &Value,
        labels: Option<&RequestLabels>,
    ) -> Reply {
        let PendingReply { uid, decision } = pending;
        if let Decision::Decided(outcome) | Decision::Failed(outcome) = decision {
            self.log(outcome, labels);
        }
        let written = response::to_json(uid, step, before, decision);
        Reply {
            result: match decision {
                Decision::Skipped => AdmissionResult::Skipped,
                Decision::Decided(outcome) if outcome.is_allowed() => AdmissionResult::Allowed,
                Decision::Decided(_) => AdmissionResult::Refused,
                Decision::Failed(_) => AdmissionResult::Failed,
            },
            response: match written {
                Ok(written) => http_response(StatusCode::OK, "application/json", written),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
        }
    }

    fn log(&self, outcome: &AdmissionOutcome, labels: Option<&RequestLabels>) {
        let kind = labels.map_or("", |labels| labels.kind);
        let title = labels.map_or("", |labels| labels.title.as_str());
        if !outcome.is_allowed() {
            let refusal = text::line(&outcome.refusal(), LINE);
            info!(kind, title, "webhook: refused: {refusal}");
        }
        if outcome.reports.is_empty() {
            return;
        }
        let catalog = self.decider.plugins.catalog();
        for said in &outcome.reports {
            self.metrics.monitored(&catalog.label(&said.policy));
        }
        for line in lines(&outcome.reports) {
            info!(kind, title, "webhook: only monitored: {line}");
        }
    }

    /// Records a request for a Dask resource at its first step. `plugin run` runs both steps from one recording.
    fn record(&self, input: &AdmissionInput, body: &Bytes) {
        let is_first = input.step == Step::Mutate || input.operation == Operation::Delete;
        if !self.recording.is_on() || !is_first || !matches!(input.target, Target::Dask(_)) {
            return;
        }
        let metadata = &input.object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let (kind, operation) = (input.target.kind(), input.operation_name());
        self.recording
            .admission(kind, text("namespace"), text("name"), operation, body);
    }
}

/// Returns the lines of the log for the reports of policies, limited in number and length.
fn lines(said: &[AdmissionFinding]) -> Vec<String> {
    let mut lines: Vec<_> = said
        .iter()
        .take(LINES)
        .map(|said| text::line(&said.to_string(), LINE))
        .collect();
    if said.len() > LINES {
        lines.push(format!("and {} more", said.len() - LINES));
    }
    lines
}

/// Adds the results of dry runs to a decision.
fn add_dry_runs(results: &[DryRunResult], decision: &mut Decision) {
    if let Decision::Decided(outcome) = decision {
        dry_run::add_results(results, outcome);
    }
}

/// Returns the response to a request without a decision.
fn executor_error(error: &ExecutorError, labels: Option<&RequestLabels>) -> Reply {
    let (result, code) = match error {
        ExecutorError::Busy => (AdmissionResult::Busy, StatusCode::SERVICE_UNAVAILABLE),
        ExecutorError::Overdrawn(_) => (AdmissionResult::Overdrawn, StatusCode::SERVICE_UNAVAILABLE),
        ExecutorError::Late => (AdmissionResult::Late, StatusCode::GATEWAY_TIMEOUT),
        ExecutorError::Failed(_) => (AdmissionResult::Failed, StatusCode::INTERNAL_SERVER_ERROR),
    };
    let sentence = text::line(&error.to_string(), LINE);
    match labels {
        Some(RequestLabels { kind, title, .. }) => warn!(kind, title, "webhook: {sentence}"),
        None => warn!("webhook: {sentence}"),
    }
    Reply {
        result,
        response: text(code, sentence),
    }
}

/// Returns the response to a request that is invalid or too large.
fn parse_error(error: &ParseError) -> Reply {
    let sentence = text::line(&error.to_string(), LINE);
    warn!("webhook: {sentence}");
    Reply {
        result: AdmissionResult::Unreadable,
        response: text(StatusCode::BAD_REQUEST, sentence),
    }
}

/// Returns `NAMESPACE/NAME` of an object.
fn title(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    text::line(&format!("{}/{}", text("namespace"), text("name")), TITLE)
}

/// Returns a plain-text response with one line.
pub(crate) fn text(code: StatusCode, mut sentence: String) -> HttpResponse {
    sentence.push('\n');
    http_response(code, "text/plain; charset=utf-8", sentence)
}

#[cfg(test)]
mod tests;
