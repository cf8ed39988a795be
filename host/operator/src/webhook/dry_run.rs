//! Dry runs of templates by the API server, which finds everything that it will refuse later.
//!
//! [`trials`] creates the requests and [`say`] evaluates the responses, both on threads that may block. [`DryRun`] sends the
//! requests. While the API server is overloaded, a circuit breaker skips dry runs for a while: see `CircuitBreaker`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_operator_core::names::FIELD_MANAGER;
use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::admission::{Outcome, Said};
use futures::future::join_all;
use kube::Client;
use kube::api::PostParams;
use kube::core::request::{Error::BuildRequest, Request};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::templates::{self, Template};

/// Timeout of a dry run. After it, the resource is admitted with a warning.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Number of dry runs that are in flight at the same time. Others wait.
const AT_ONCE: usize = 16;

/// Maximum bytes of all dry runs that are in flight or waiting. Beyond that, dry runs are skipped.
const ROOM: usize = 32 << 20;

/// Bytes per permit of the semaphore that counts bytes.
const PERMIT_BYTES: usize = 1 << 10;

/// Number of consecutive requests with a timeout after which dry runs are skipped. A single request may be slow for reasons of
/// its own, such as another webhook for its namespace.
const MAX_TIMEOUTS: u32 = 3;

/// Time for which dry runs are skipped after [`MAX_TIMEOUTS`].
const OPEN_TIME: Duration = Duration::from_secs(10);

/// Sender of dry-run requests for templates. The API server stores none of the objects.
pub(crate) struct DryRun {
    client: Client,
    permits: Semaphore,
    memory: Semaphore,
    breaker: Mutex<CircuitBreaker>,
}

/// Circuit breaker that skips dry runs for [`OPEN_TIME`] after [`MAX_TIMEOUTS`] consecutive timeouts, so that not every request
/// waits for an overloaded API server. Then one request tries again, and the others are skipped until its result is known.
#[derive(Debug, Default)]
struct CircuitBreaker {
    /// Number of consecutive requests with a timeout.
    timeouts: u32,
    /// Time until which dry runs are skipped. `None` while they are sent.
    open_until: Option<Instant>,
}

impl CircuitBreaker {
    /// Returns whether a request may send its dry runs. The first request after the open time may do so alone.
    fn admits(&mut self, now: Instant) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.open_until = Some(now + TIMEOUT);
                true
            }
        }
    }

    /// Records a request with a response in time.
    fn record_response(&mut self) {
        *self = Self::default();
    }

    /// Records a request with a timeout.
    fn record_timeout(&mut self, now: Instant) {
        self.timeouts = self.timeouts.saturating_add(1);
        if self.timeouts >= MAX_TIMEOUTS {
            self.open_until = Some(now + OPEN_TIME);
        }
    }
}

impl DryRun {
    /// Creates a sender that uses `client`.
    #[must_use]
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            permits: Semaphore::new(AT_ONCE),
            memory: Semaphore::new(ROOM / PERMIT_BYTES),
            breaker: Mutex::default(),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, CircuitBreaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends these requests, of which there must be at least one. Returns the result of each of them, not later than at `end`.
    pub(crate) async fn send(&self, trials: Vec<Trial>, end: Instant) -> Vec<Tried> {
        let start = Instant::now();
        let bytes = trials.iter().map(Trial::bytes).sum::<usize>();
        let permits = bytes.div_ceil(PERMIT_BYTES);
        let Ok(_permits) = self
            .memory
            .try_acquire_many(u32::try_from(permits).unwrap_or(u32::MAX))
        else {
            return skip(trials, TOO_MANY);
        };
        if !self.breaker().admits(start) {
            return skip(trials, TOO_SLOW);
        }
        let timeout = end.saturating_duration_since(start).min(TIMEOUT);
        let answers = trials.into_iter().map(|Trial { template, request }| async move {
            let answer = match tokio::time::timeout(timeout, self.request(request)).await {
                Ok(response) => Answer::Received(response),
                Err(_) => Answer::TimedOut(timeout),
            };
            Tried { template, answer }
        });
        let tried = join_all(answers).await;
        let is_timeout = |tried: &Tried| matches!(tried.answer, Answer::TimedOut(_));
        if !tried.iter().all(is_timeout) {
            self.breaker().record_response();
        } else if timeout > TIMEOUT / 2 {
            // A shorter timeout is no sign of overload of the API server: most of the time was used before the dry run.
            self.breaker().record_timeout(Instant::now());
        }
        tried
    }

    async fn request(&self, request: kube::Result<http::Request<Vec<u8>>>) -> kube::Result<()> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        self.client.request_text(request?).await.map(drop)
    }
}

/// A dry run to send: a template and its request.
pub(crate) struct Trial {
    template: Template,
    request: kube::Result<http::Request<Vec<u8>>>,
}

impl Trial {
    fn bytes(&self) -> usize {
        self.request.as_ref().map_or(0, |request| request.body().len())
    }
}

/// Returns results for dry runs that were skipped for this reason.
fn skip(trials: Vec<Trial>, why: &'static str) -> Vec<Tried> {
    let untried = |Trial { template, .. }| Tried {
        template,
        answer: Answer::Skipped(why),
    };
    trials.into_iter().map(untried).collect()
}

/// A dry run with its result.
pub(crate) struct Tried {
    template: Template,
    answer: Answer,
}

/// Result of a dry run.
enum Answer {
    /// The API server responded, or the request failed.
    Received(kube::Result<()>),
    /// The API server did not respond within this time.
    TimedOut(Duration),
    /// The request was not sent, for this reason.
    Skipped(&'static str),
}

/// Returns the dry runs for a resource: one for each template that differs from `old`.
pub(crate) fn trials(kind: DaskKind, object: &Value, old: Option<&Value>) -> Vec<Trial> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let trial = |mut template: Template| {
        let request = request(namespace, &template);
        template.forget();
        Trial { template, request }
    };
    templates::changed(kind, object, old)
        .into_iter()
        .map(trial)
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
pub(crate) fn say(tried: &[Tried], outcome: &mut Outcome) {
    for Tried { template, answer } in tried {
        let why = match answer {
            Answer::Received(Ok(())) => continue,
            Answer::Received(Err(kube::Error::Api(status))) => {
                templates::refused(template, status, outcome);
                continue;
            }
            Answer::Received(Err(error)) => error.to_string(),
            Answer::TimedOut(timeout) => format!(
                "the API server has not answered within {} ms",
                timeout.as_millis()
            ),
            Answer::Skipped(why) => (*why).to_owned(),
        };
        outcome.warnings.push(untried(template, &why));
    }
}

/// Reason for a skipped dry run: the circuit breaker is open.
const TOO_SLOW: &str = "the API server was too slow for dry runs a moment ago";

/// Reason for a skipped dry run: too many bytes are in flight.
const TOO_MANY: &str = "there are too many dry runs at once";

/// Returns the warning for a template whose dry run has no result.
fn untried(template: &Template, why: &str) -> Said {
    Said::new("", template.field, templates::untried(why))
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn group() -> Value {
        json!({"metadata": {"namespace": "n"}, "spec": {"worker": {"spec": {"containers": []}}}})
    }

    async fn check(dry_run: &DryRun, end: Instant, outcome: &mut Outcome) {
        let trials = trials(DaskKind::WorkerGroup, &group(), None);
        say(&dry_run.send(trials, end).await, outcome);
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(8)
    }

    #[tokio::test]
    async fn a_template_is_sent_as_a_dry_run() {
        let (service, mut handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let server = tokio::spawn(async move {
            let (request, respond) = handle.next_request().await?;
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422, "reason": "Invalid", "message": "no",
                "details": {"causes": [{"field": "spec.containers", "message": "Required value"}]},
            });
            let body = Body::from(status.to_string().into_bytes());
            let answer = http::Response::builder().status(422).body(body).ok()?;
            respond.send_response(answer);
            Some(request.uri().to_string())
        });
        let mut outcome = Outcome::default();
        let dry_run = DryRun::new(Client::new(service, "default"));
        check(&dry_run, later(), &mut outcome).await;
        assert_eq!(
            server.await.ok().flatten().as_deref(),
            Some("/api/v1/namespaces/n/pods?&dryRun=All&fieldManager=dask-operator")
        );
        assert_eq!(outcome.refusal(), "spec.worker.spec.containers: Required value");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dry_run_times_out() {
        let (service, _handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let mut outcome = Outcome::default();
        let dry_run = DryRun::new(Client::new(service, "default"));
        check(&dry_run, later(), &mut outcome).await;
        assert!(outcome.is_allowed());
        assert_eq!(
            outcome.notices(),
            [
                "spec.worker.spec: whether the API server takes it is not known yet: the API server has not answered within 2000 ms"
            ]
        );
        // The API server waits for the webhook only until the end that it named.
        let mut outcome = Outcome::default();
        let end = Instant::now() + Duration::from_millis(600);
        check(&dry_run, end, &mut outcome).await;
        assert!(outcome.is_allowed() && Instant::now() <= end + Duration::from_millis(1));
    }

    /// Returns the seconds that the webhook waits for a dry run, and its warnings.
    async fn waits(dry_run: &DryRun) -> (u64, String) {
        let (start, mut outcome) = (Instant::now(), Outcome::default());
        check(dry_run, later(), &mut outcome).await;
        assert!(outcome.is_allowed(), "the request is not refused for that");
        (start.elapsed().as_secs(), outcome.notices().join("; "))
    }

    #[tokio::test(start_paused = true)]
    async fn dry_runs_are_skipped_while_the_api_server_is_overloaded() {
        let (service, handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let dry_run = DryRun::new(Client::new(service, "default"));
        for request in 0..MAX_TIMEOUTS {
            assert_eq!(waits(&dry_run).await.0, 2, "request {request}");
        }
        for _ in 0..100 {
            let (seconds, warnings) = waits(&dry_run).await;
            assert_eq!(seconds, 0);
            assert!(warnings.ends_with(TOO_SLOW), "{warnings}");
        }
        // Then one request tries again, and the others don't wait for it.
        tokio::time::sleep(OPEN_TIME).await;
        let (tries, others) = tokio::join!(waits(&dry_run), waits(&dry_run));
        assert_eq!((tries.0, others.0), (2, 0));
        assert_eq!(waits(&dry_run).await.0, 0);

        // As soon as the API server responds in time, all dry runs are sent again.
        let answering = tokio::spawn(answer_everything(handle));
        tokio::time::sleep(OPEN_TIME).await;
        for _ in 0..3 {
            assert_eq!(waits(&dry_run).await, (0, String::new()));
        }
        answering.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn pending_dry_runs_take_bounded_memory() {
        let (service, _handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let dry_run = DryRun::new(Client::new(service, "default"));
        let mut large = group();
        large["spec"]["worker"]["spec"]["x"] = "x".repeat(ROOM).into();
        let mut outcome = Outcome::default();
        let trials = trials(DaskKind::WorkerGroup, &large, None);
        say(&dry_run.send(trials, later()).await, &mut outcome);
        let warnings = outcome.notices().join("; ");
        assert!(outcome.is_allowed() && warnings.ends_with(TOO_MANY), "{warnings}");
        assert!(waits(&dry_run).await.1.contains("within 2000 ms"));
    }

    type Handle = tower_test::mock::Handle<http::Request<Body>, http::Response<Body>>;

    async fn answer_everything(mut handle: Handle) {
        while let Some((_, respond)) = handle.next_request().await {
            respond.send_response(http::Response::new(Body::from(b"{}".to_vec())));
        }
    }

    /// Pods of one namespace may have to pass a slow webhook.
    #[test]
    fn timeouts_between_responses_do_not_open_the_breaker() {
        let (now, mut breaker) = (Instant::now(), CircuitBreaker::default());
        for _ in 0..10 {
            for _ in 1..MAX_TIMEOUTS {
                breaker.record_timeout(now);
            }
            breaker.record_response();
            assert!(breaker.admits(now));
        }
    }
}
