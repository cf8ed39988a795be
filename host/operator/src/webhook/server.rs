//! HTTPS for API servers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dask_operator_runtime::contract::Operation;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::ask::{Deciders, Decision};
use super::metrics::{Admission, WebhookMetrics};
use super::review::{self, About, Asked, Question, Step};
use crate::recording::Recording;

/// Requests hold an object twice at most, and the API server takes objects of 1.5 MiB.
const LARGEST: usize = 4 << 20;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What the API server waits for where it does not say: its own default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Serves requests.
pub struct Server {
    acceptor: TlsAcceptor,
    deciders: Arc<Deciders>,
    metrics: WebhookMetrics,
    recording: Recording,
}

type Answer = Response<Full<Bytes>>;

impl Server {
    /// Serves what `deciders` say, by TLS as `acceptor` speaks it. Requests go into the `recording` too.
    #[must_use]
    pub fn new(
        acceptor: TlsAcceptor,
        deciders: Deciders,
        metrics: WebhookMetrics,
        recording: Recording,
    ) -> Self {
        Self {
            acceptor,
            deciders: Arc::new(deciders),
            metrics,
            recording,
        }
    }

    /// Does so for ever.
    pub async fn serve(self, listener: TcpListener) {
        let server = Arc::new(self);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(server.clone().connection(stream));
                }
                Err(error) => {
                    warn!("webhook: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Answers one connection's requests. An idle one is left open for as long as the API server wants it: one that
    /// is closed at the wrong moment costs a request.
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!("webhook: handshake: {error}"),
            Err(_) => return debug!("webhook: a handshake took too long"),
        };
        let service = service_fn(|request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.request(request).await) }
        });
        if let Err(error) = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await
        {
            debug!("webhook: {error}");
        }
    }

    async fn request(&self, request: Request<Incoming>) -> Answer {
        let Some(step) = Step::of_path(request.uri().path()) else {
            return text(StatusCode::NOT_FOUND, "there are /mutate and /validate\n");
        };
        if request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n");
        }
        let deadline = deadline(request.uri().query());
        let body = tokio::time::timeout(deadline, Limited::new(request.into_body(), LARGEST).collect()).await;
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let sentence = format!("the request is larger than {LARGEST} bytes\n");
                return text(StatusCode::PAYLOAD_TOO_LARGE, &sentence);
            }
            Ok(Err(error)) => {
                return text(
                    StatusCode::BAD_REQUEST,
                    &format!("the request breaks off: {error}\n"),
                );
            }
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the request came too slowly\n"),
        };
        self.review(step, &body, deadline).await
    }

    /// Keeps a request about a Dask resource, as it was first heard of: `plugin run` goes through both steps by itself.
    fn record(&self, question: &Question, body: &Bytes) {
        let is_first = question.step == Step::Mutate || question.operation == Operation::Delete;
        if !self.recording.is_on() || !is_first || !matches!(question.about, About::Dask(_)) {
            return;
        }
        let (recording, body) = (self.recording.clone(), body.clone());
        let (kind, operation) = (question.about.kind(), question.operation_name());
        let metadata = &question.object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        tokio::task::spawn_blocking(move || {
            recording.admission(kind, &namespace, &name, operation, &body);
        });
    }

    async fn review(&self, step: Step, body: &Bytes, deadline: Duration) -> Answer {
        let start = Instant::now();
        let mut counted = Admission {
            step: step.name(),
            kind: "",
            operation: "",
            outcome: "unreadable",
        };
        let Asked { question, uid } = match review::read(step, body) {
            Ok(asked) => asked,
            Err(error) => {
                warn!("webhook: {error}");
                self.metrics.answered(&counted, start.elapsed());
                return text(StatusCode::BAD_REQUEST, &format!("{error}\n"));
            }
        };
        counted.kind = question.about.kind();
        counted.operation = question.operation_name();
        self.record(&question, body);
        let question = Arc::new(question);
        let title = || title(&question.object);
        // The last tenth is for the answer: who only waits for the API server must not be late because of that.
        let end = tokio::time::Instant::now() + deadline * 9 / 10;
        let decided = self.deciders.clone().decide(question.clone(), end);
        let decision = tokio::time::timeout(deadline, decided).await;
        let Ok(decision) = decision else {
            counted.outcome = "late";
            self.metrics.answered(&counted, start.elapsed());
            let sentence = format!(
                "the components have not answered within {} ms\n",
                deadline.as_millis()
            );
            warn!(
                kind = counted.kind,
                title = title(),
                "webhook: {}",
                sentence.trim_end()
            );
            return text(StatusCode::GATEWAY_TIMEOUT, &sentence);
        };
        counted.outcome = match &decision {
            Decision::Unasked => "unasked",
            Decision::Asked(outcome) if outcome.is_allowed() => "allowed",
            Decision::Asked(_) => "refused",
            Decision::Failed(_) => "failed",
        };
        if let Decision::Asked(outcome) | Decision::Failed(outcome) = &decision {
            if !outcome.is_allowed() {
                info!(
                    kind = counted.kind,
                    title = title(),
                    "webhook: refused: {}",
                    outcome.refusal()
                );
            }
            for said in &outcome.reports {
                self.metrics.monitored(&said.policy);
                info!(
                    kind = counted.kind,
                    title = title(),
                    "webhook: only monitored: {said}"
                );
            }
        }
        let answer = match review::answer(&uid, step, &question.object, &decision) {
            Ok(answer) => json(answer),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        };
        self.metrics.answered(&counted, start.elapsed());
        answer
    }
}

/// `NAMESPACE/NAME`
fn title(object: &serde_json::Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}

/// A fifth less than what the API server waits: `timeout=10s` in its query.
fn deadline(query: Option<&str>) -> Duration {
    let parameters = query.unwrap_or_default().split('&');
    let seconds = parameters
        .filter_map(|parameter| {
            parameter
                .strip_prefix("timeout=")?
                .strip_suffix('s')?
                .parse()
                .ok()
        })
        .next();
    let timeout = seconds.map_or(TIMEOUT, |seconds: u64| Duration::from_secs(seconds.clamp(1, 30)));
    timeout * 4 / 5
}

fn text(code: StatusCode, sentence: &str) -> Answer {
    answer(
        code,
        "text/plain; charset=utf-8",
        Bytes::copy_from_slice(sentence.as_bytes()),
    )
}

fn json(body: Vec<u8>) -> Answer {
    answer(StatusCode::OK, "application/json", Bytes::from(body))
}

fn answer(code: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = code;
    let content_type = header::HeaderValue::from_static(content_type);
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, 8000)]
    #[case(Some("timeout=5s"), 4000)]
    #[case(Some("a=b&timeout=30s"), 24_000)]
    #[case(Some("timeout=1h"), 8000)]
    #[case(Some("timeout=9999s"), 24_000)]
    fn deadlines(#[case] query: Option<&str>, #[case] milliseconds: u64) {
        assert_eq!(deadline(query), Duration::from_millis(milliseconds));
    }
}
