//! What becomes of a request, from its bytes to its answer.
//!
//! All that takes the longer the larger a request is happens on the threads of the [`Desk`]. First it is looked at
//! ([`Handler::look`]), which says whose turn it is to be and how much memory it takes. Then there are up to three turns: read
//! and decide; decide, where plugins of the namespace are asked or the stores had to catch up; and answer, where the API server
//! was asked. In between, nothing is kept of the request but its text, or what is still to be said.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use dask_operator_core::text;
use dask_operator_render::admission::{Outcome, Said};
use dask_operator_runtime::contract::Operation;
use http::StatusCode;
use serde_json::Value;
use tracing::{info, warn};

use super::ask::{Deciders, Decision};
use super::desk::{Desk, Times, Turn, Unanswered};
use super::dry_run::{self, DryRun, Trial, Tried};
use super::metrics::{Admission, WebhookMetrics};
use super::reply;
use super::review::{self, About, Asked, Outline, Question, ReviewError, Step};
use crate::plugins::Whose;
use crate::recording::Recording;
use crate::server::{Answer, answer};

/// Bytes of a line in the log, and of what is said of a request that can't be read.
const LINE: usize = 2048;

/// Bytes of a request that waits for the stores: what says how many workers there shall be is small.
const SMALL: usize = 64 << 10;

/// Bytes of an object's namespace and name in a line.
const TITLE: usize = 320;

/// Lines for what policies that only monitor say of one request.
const LINES: usize = 10;

/// Answers requests.
pub struct Handler {
    /// Who decides.
    pub deciders: Deciders,
    /// Where they do.
    pub desk: Desk,
    /// What the API server says of templates.
    pub dry_run: DryRun,
    /// Where requests are counted.
    pub metrics: WebhookMetrics,
    /// Where requests are kept.
    pub recording: Recording,
}

/// What a request is about, for the log and for metrics.
#[derive(Debug)]
struct Heard {
    kind: &'static str,
    operation: &'static str,
    title: String,
}

/// An answer, and what it comes to.
struct Told {
    outcome: &'static str,
    answer: Answer,
}

/// A decision that is not told yet.
struct Pending {
    uid: String,
    decision: Decision,
}

/// What came of a look at a request.
enum Looked {
    /// It is to be decided.
    Asks(Turn),
    /// There is nothing to decide.
    Told(Told),
}

/// A request that was looked at.
pub struct Look {
    turn: Turn,
    start: Instant,
}

/// What is to be done next.
enum Next {
    /// Nothing.
    Told(Told),
    /// Plugins of the namespace are to be asked.
    AskTenants,
    /// The stores must know what is to be scaled.
    CatchUp(Asked),
    /// The API server is to be asked.
    Try(Pending, Vec<Trial>),
}

impl Handler {
    /// Looks at a request that has these bytes. Where there is nothing to decide, it gives the answer.
    pub async fn look(self: &Arc<Self>, step: Step, body: &Bytes, times: Times) -> Result<Look, Answer> {
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

    /// Answers a request that has these bytes, after a look at it.
    pub async fn answer(self: &Arc<Self>, step: Step, body: Bytes, look: Look, times: Times) -> Answer {
        let Look { turn, start } = look;
        let heard = Arc::new(OnceLock::new());
        let told = self.tell(step, body, turn, times, heard.clone()).await;
        let told = told.unwrap_or_else(|error| unanswered(&error, heard.get()));
        self.counted(step, heard.get(), told, start)
    }

    /// Answers a request that can't be read, because there are too many.
    pub fn busy(&self, step: Step) -> Answer {
        let told = unanswered(&Unanswered::Busy, None);
        self.counted(step, None, told, Instant::now())
    }

    /// Counts an answer, and gives it.
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
                whose: self.deciders.whose(&namespace),
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
        // Whether components are asked at all, and not only the request read, is known once it has been.
        let first = Turn {
            whose: Whose::Operators,
            ..turn.clone()
        };
        let may_ask = turn.whose;
        let read = {
            let (handler, body, heard) = (self.clone(), body.clone(), heard.clone());
            move || handler.read(step, &body, &heard, may_ask == Whose::Operators)
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
                    // Nobody counts what is kept meanwhile. Of what is small the question is enough.
                    let is_small = body.len() <= SMALL;
                    body = Bytes::new();
                    if is_small {
                        self.deciders.catch_up(&asked.question, times.end).await;
                    }
                    let weigh = {
                        let handler = self.clone();
                        move || (handler.deciders.bytes(&asked.question), asked)
                    };
                    let (bytes, asked) = self.desk.look(times, 0, weigh).await?;
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
                    // What the API server is sent is all that is kept.
                    body = Bytes::new();
                    let tried = self.dry_run.send(trials, times.end).await;
                    let finish = move || {
                        add(&tried, &mut pending.decision);
                        Next::Told(handler.finish(&pending, Step::Validate, &Value::Null, heard.get()))
                    };
                    let turn = Turn {
                        whose: Whose::Operators,
                        text: 0,
                        tree: 0,
                        ..turn.clone()
                    };
                    self.desk.run(turn, times.deadline, times, finish).await?
                }
            };
        }
    }

    /// Reads a request, and decides where nobody has to be asked or `may_ask`.
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
        // Plugins are changed without that: who has asked them too much must be able to write one that takes less.
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

    /// Writes the log and the answer. `before` is the question's object.
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

    /// Keeps a request about a Dask resource, as it was first heard of: `plugin run` goes through both steps by itself.
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

/// What is written of what policies said, which may be much.
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

/// Adds to a decision what the API server has said.
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

/// A request that is none, or too large.
fn unreadable(error: &ReviewError) -> Told {
    let sentence = text::line(&error.to_string(), LINE);
    warn!("webhook: {sentence}");
    Told {
        outcome: "unreadable",
        answer: text(StatusCode::BAD_REQUEST, sentence),
    }
}

/// `NAMESPACE/NAME`
fn title(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    text::line(&format!("{}/{}", text("namespace"), text("name")), TITLE)
}

/// An answer that is a sentence.
pub fn text(code: StatusCode, mut sentence: String) -> Answer {
    sentence.push('\n');
    answer(code, "text/plain; charset=utf-8", sentence)
}

#[cfg(test)]
mod tests;
