//! Processing of an admission request, from its bytes to the response.
//!
//! All work that grows with the size of a request runs on the threads of the [`Desk`]. First the request is classified
//! ([`Handler::look`]), which yields the namespace to count it by and the memory that it takes. Then there are up to three runs:
//! parse and decide; decide, if plugins of the namespace must be called or the informer cache had to catch up; and write the
//! response, if there were dry runs. Between the runs, only the text of the request or the decision is held in memory.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use dask_operator_core::text;
use dask_operator_evaluator::admission::{Outcome, Said};
use dask_operator_evaluator::logic::PluginOwner;
use dask_operator_runtime::contract::Operation;
use http::StatusCode;
use serde_json::Value;
use tracing::{info, warn};

use super::ask::{Deciders, Decision};
use super::desk::{Desk, Times, Turn, Unanswered};
use super::dry_run::{self, DryRun, Trial, Tried};
use super::metrics::{Admission, WebhookMetrics};
use super::reply;
use super::request::{About, Question, Step};
use super::review::{self, Asked, Outline, ReviewError};
use crate::recording::Recording;
use crate::server::{Answer, answer};

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
    pub(crate) deciders: Deciders,
    /// Threads on which requests are decided.
    pub(crate) desk: Desk,
    /// Sender of dry runs.
    pub(crate) dry_run: DryRun,
    /// Metrics of the webhook.
    pub(crate) metrics: WebhookMetrics,
    /// Recorder of requests.
    pub(crate) recording: Recording,
}

/// Description of a request for the log and for metrics.
#[derive(Debug)]
struct Heard {
    kind: &'static str,
    operation: &'static str,
    title: String,
}

/// A response, and its outcome in metrics.
struct Told {
    outcome: &'static str,
    answer: Answer,
}

/// A decision whose response is not written yet.
struct Pending {
    uid: String,
    decision: Decision,
}

/// Result of the classification of a request.
enum Looked {
    /// The request needs a decision.
    Asks(Turn),
    /// The request needs no decision and has its response.
    Told(Told),
}

/// A classified request.
pub(crate) struct Look {
    turn: Turn,
    start: Instant,
}

/// The next step for a request.
enum Next {
    /// Send the response.
    Told(Told),
    /// Decide in a run of its own, because plugins of the namespace must be called.
    AskTenants,
    /// Wait until the informer cache has the resource that is scaled.
    CatchUp(Asked),
    /// Send dry runs to the API server.
    Try(Pending, Vec<Trial>),
}

impl Handler {
    /// Classifies a request with these bytes.
    ///
    /// # Errors
    ///
    /// Returns the response if the request needs no decision or can't be read.
    pub(crate) async fn look(
        self: &Arc<Self>,
        step: Step,
        body: &Bytes,
        times: Times,
    ) -> Result<Look, Answer> {
        let start = Instant::now();
        let heard = Arc::new(OnceLock::new());
        let look = {
            let (handler, body, heard) = (self.clone(), body.clone(), heard.clone());
            move || handler.outline(&body, &heard)
        };
        let told = match self.desk.look(times, body.len(), look).await {
            Ok(Looked::Asks(turn)) => return Ok(Look { turn, start }),
            Ok(Looked::Told(told)) => told,
            Err(error) => unanswered(&error, None),
        };
        Err(self.counted(step, heard.get(), told, start))
    }

    /// Answers a request with these bytes after its classification.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        step: Step,
        body: Bytes,
        look: Look,
        times: Times,
    ) -> Answer {
        let Look { turn, start } = look;
        let heard = Arc::new(OnceLock::new());
        let told = self.tell(step, body, turn, times, heard.clone()).await;
        let told = told.unwrap_or_else(|error| unanswered(&error, heard.get()));
        self.counted(step, heard.get(), told, start)
    }

    /// Returns the response to a request that is not read because there are too many.
    pub(crate) fn busy(&self, step: Step) -> Answer {
        let told = unanswered(&Unanswered::Busy, None);
        self.counted(step, None, told, Instant::now())
    }

    /// Counts a response in the metrics and returns it.
    fn counted(&self, step: Step, heard: Option<&Heard>, told: Told, start: Instant) -> Answer {
        let counted = Admission {
            step: step.name(),
            kind: heard.map_or("", |heard| heard.kind),
            operation: heard.map_or("", |heard| heard.operation),
            outcome: told.outcome,
        };
        self.metrics.answered(&counted, start.elapsed());
        told.answer
    }

    fn outline(&self, body: &Bytes, heard: &OnceLock<Heard>) -> Looked {
        match review::outline(body, self.deciders.own_user.as_deref()) {
            Ok(Outline::Asks { namespace, bytes }) => Looked::Asks(Turn {
                owner: self.deciders.owner(&namespace),
                namespace,
                text: body.len(),
                tree: bytes,
            }),
            Ok(Outline::Goes { uid, kind }) => {
                let heard = heard.get_or_init(|| Heard {
                    kind: kind.kind(),
                    operation: "update",
                    title: String::new(),
                });
                let pending = Pending {
                    uid,
                    decision: Decision::Unasked,
                };
                Looked::Told(self.finish(&pending, Step::Validate, &Value::Null, Some(heard)))
            }
            Err(error) => Looked::Told(unreadable(&error)),
        }
    }

    async fn tell(
        self: &Arc<Self>,
        step: Step,
        mut body: Bytes,
        turn: Turn,
        times: Times,
        heard: Arc<OnceLock<Heard>>,
    ) -> Result<Told, Unanswered> {
        // Only the parsed request shows whether components must be called, so the first run does not count as one that calls
        // plugins of the namespace.
        let first = Turn {
            owner: PluginOwner::Administrator,
            ..turn.clone()
        };
        let may_ask = turn.owner;
        let read = {
            let (handler, body, heard) = (self.clone(), body.clone(), heard.clone());
            move || handler.read(step, &body, &heard, may_ask == PluginOwner::Administrator)
        };
        let mut next = self.desk.run(first, times.end, times, read).await?;
        loop {
            let (handler, heard) = (self.clone(), heard.clone());
            next = match next {
                Next::Told(told) => return Ok(told),
                Next::AskTenants => {
                    let body = body.clone();
                    let read = move || handler.read(step, &body, &heard, true);
                    self.desk.run(turn.clone(), times.end, times, read).await?
                }
                Next::CatchUp(asked) => {
                    // Memory that is held during the wait is not counted, so only small requests wait, and only the question is
                    // held.
                    let is_small = body.len() <= SMALL;
                    body = Bytes::new();
                    if is_small {
                        self.deciders.catch_up(&asked.question, times.end).await;
                    }
                    let text = self.deciders.text_bytes(&asked.question);
                    let weigh = {
                        let handler = self.clone();
                        move || (handler.deciders.bytes(&asked.question), asked)
                    };
                    let (bytes, asked) = self.desk.look(times, text, weigh).await?;
                    match review::fitting(bytes) {
                        Ok(tree) => {
                            let turn = Turn { tree, ..turn.clone() };
                            let decide = move || handler.decide(asked, &heard);
                            self.desk.run(turn, times.end, times, decide).await?
                        }
                        Err(error) => Next::Told(unreadable(&error)),
                    }
                }
                Next::Try(mut pending, trials) => {
                    // During dry runs, only their requests and the decision are held in memory.
                    body = Bytes::new();
                    let tried = self.dry_run.send(trials, times.end).await;
                    let finish = move || {
                        add(&tried, &mut pending.decision);
                        Next::Told(handler.finish(&pending, Step::Validate, &Value::Null, heard.get()))
                    };
                    let turn = Turn {
                        owner: PluginOwner::Administrator,
                        text: 0,
                        tree: 0,
                        ..turn.clone()
                    };
                    self.desk.run(turn, times.deadline, times, finish).await?
                }
            };
        }
    }

    /// Parses a request. Decides it at once if no component must be called or if `may_ask` is true.
    fn read(&self, step: Step, body: &Bytes, heard: &OnceLock<Heard>, may_ask: bool) -> Next {
        let asked = match review::read(step, body) {
            Ok(asked) => asked,
            Err(error) => return Next::Told(unreadable(&error)),
        };
        let question = &asked.question;
        heard.get_or_init(|| Heard {
            kind: question.about.kind(),
            operation: question.operation_name(),
            title: title(&question.object),
        });
        let is_unasked = self.deciders.is_unasked(question);
        // Requests for plugins don't take this way: a tenant whose plugins have used up their time must be able to install one
        // that takes less.
        if !is_unasked && !may_ask && matches!(question.about, About::Dask(_)) {
            return Next::AskTenants;
        }
        self.record(question, body);
        if !is_unasked && matches!(question.about, About::Scale(_)) {
            return Next::CatchUp(asked);
        }
        self.decide(asked, heard)
    }

    fn decide(&self, asked: Asked, heard: &OnceLock<Heard>) -> Next {
        let Asked { question, uid } = asked;
        let decision = self.deciders.decide(&question);
        let trials = self.deciders.trials(&question, &decision);
        let pending = Pending { uid, decision };
        if trials.is_empty() {
            Next::Told(self.finish(&pending, question.step, &question.object, heard.get()))
        } else {
            Next::Try(pending, trials)
        }
    }

    /// Writes the log and the response. `before` is the object of the question.
    fn finish(&self, pending: &Pending, step: Step, before: &Value, heard: Option<&Heard>) -> Told {
        let Pending { uid, decision } = pending;
        if let Decision::Asked(outcome) | Decision::Failed(outcome) = decision {
            self.log(outcome, heard);
        }
        let written = reply::answer(uid, step, before, decision);
        Told {
            outcome: match decision {
                Decision::Unasked => "unasked",
                Decision::Asked(outcome) if outcome.is_allowed() => "allowed",
                Decision::Asked(_) => "refused",
                Decision::Failed(_) => "failed",
            },
            answer: match written {
                Ok(written) => answer(StatusCode::OK, "application/json", written),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
        }
    }

    fn log(&self, outcome: &Outcome, heard: Option<&Heard>) {
        let kind = heard.map_or("", |heard| heard.kind);
        let title = heard.map_or("", |heard| heard.title.as_str());
        if !outcome.is_allowed() {
            let refusal = text::line(&outcome.refusal(), LINE);
            info!(kind, title, "webhook: refused: {refusal}");
        }
        if outcome.reports.is_empty() {
            return;
        }
        let catalog = self.deciders.plugins.catalog();
        for said in &outcome.reports {
            self.metrics.monitored(&catalog.label(&said.policy));
        }
        for line in lines(&outcome.reports) {
            info!(kind, title, "webhook: only monitored: {line}");
        }
    }

    /// Records a request for a Dask resource at its first step. `plugin run` runs both steps from one recording.
    fn record(&self, question: &Question, body: &Bytes) {
        let is_first = question.step == Step::Mutate || question.operation == Operation::Delete;
        if !self.recording.is_on() || !is_first || !matches!(question.about, About::Dask(_)) {
            return;
        }
        let metadata = &question.object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let (kind, operation) = (question.about.kind(), question.operation_name());
        self.recording
            .admission(kind, text("namespace"), text("name"), operation, body);
    }
}

/// Returns the lines of the log for the reports of policies, limited in number and length.
fn lines(said: &[Said]) -> Vec<String> {
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
fn add(tried: &[Tried], decision: &mut Decision) {
    if let Decision::Asked(outcome) = decision {
        dry_run::say(tried, outcome);
    }
}

fn unanswered(error: &Unanswered, heard: Option<&Heard>) -> Told {
    let (outcome, code) = match error {
        Unanswered::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE),
        Unanswered::Overdrawn(_) => ("overdrawn", StatusCode::SERVICE_UNAVAILABLE),
        Unanswered::Late => ("late", StatusCode::GATEWAY_TIMEOUT),
        Unanswered::Failed(_) => ("failed", StatusCode::INTERNAL_SERVER_ERROR),
    };
    let sentence = text::line(&error.to_string(), LINE);
    match heard {
        Some(Heard { kind, title, .. }) => warn!(kind, title, "webhook: {sentence}"),
        None => warn!("webhook: {sentence}"),
    }
    Told {
        outcome,
        answer: text(code, sentence),
    }
}

/// Returns the response to a request that is invalid or too large.
fn unreadable(error: &ReviewError) -> Told {
    let sentence = text::line(&error.to_string(), LINE);
    warn!("webhook: {sentence}");
    Told {
        outcome: "unreadable",
        answer: text(StatusCode::BAD_REQUEST, sentence),
    }
}

/// Returns `NAMESPACE/NAME` of an object.
fn title(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    text::line(&format!("{}/{}", text("namespace"), text("name")), TITLE)
}

/// Returns a plain-text response with one line.
pub(crate) fn text(code: StatusCode, mut sentence: String) -> Answer {
    sentence.push('\n');
    answer(code, "text/plain; charset=utf-8", sentence)
}

#[cfg(test)]
mod tests;
