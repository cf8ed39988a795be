//! Dry runs of templates by the API server, which knows best what it will refuse: [`super::templates`] says of what.
//!
//! Requests are made by [`trials`] and their answers read by [`say`], on threads that may block; [`DryRun`] sends them. An
//! overloaded API server is not asked for a while: see `Pause`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_operator_core::names::FIELD_MANAGER;
use dask_operator_core::parent::DaskKind;
use dask_operator_render::admission::{Outcome, Said};
use futures::future::join_all;
use kube::Client;
use kube::api::PostParams;
use kube::core::request::{Error::BuildRequest, Request};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::templates::{self, Template};

/// How long the API server may take at most. What it has not said by then is not waited for: the resource is let through with a
/// warning.
const PATIENCE: Duration = Duration::from_secs(2);

/// Dry runs that are under way at once; others wait.
const AT_ONCE: usize = 16;

/// Bytes of all dry runs that are under way or wait. What would be more is done without.
const ROOM: usize = 32 << 20;

/// Bytes that are counted together.
const PIECE: usize = 1 << 10;

/// Requests in a row whose dry runs were not answered in time, until others do without. One may be slow because of what only
/// it has to pass, as a webhook of its namespace.
const MOST_LATE: u32 = 3;

/// How long they do without.
const PAUSE: Duration = Duration::from_secs(10);

/// Sends templates to the API server, which stores none of them.
pub struct DryRun {
    client: Client,
    permits: Semaphore,
    room: Semaphore,
    pause: Mutex<Pause>,
}

/// Says when dry runs are done without: after [`MOST_LATE`] that came too late, for [`PAUSE`], so that not every request waits
/// for an API server that is overloaded. Then one request tries again, and the others wait for what comes of it.
#[derive(Debug, Default)]
struct Pause {
    /// Requests in a row that were not answered in time.
    late: u32,
    /// Until when dry runs are done without; none where they are not.
    until: Option<Instant>,
}

impl Pause {
    /// Whether a request may try.
    fn lets_through(&mut self, now: Instant) -> bool {
        match self.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.until = Some(now + PATIENCE);
                true
            }
        }
    }

    /// A request was answered in time.
    fn answered(&mut self) {
        *self = Self::default();
    }

    /// A request was not.
    fn late(&mut self, now: Instant) {
        self.late = self.late.saturating_add(1);
        if self.late >= MOST_LATE {
            self.until = Some(now + PAUSE);
        }
    }
}

impl DryRun {
    /// Sends with `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            permits: Semaphore::new(AT_ONCE),
            room: Semaphore::new(ROOM / PIECE),
            pause: Mutex::default(),
        }
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends these, of which there is at least one, and gives what the API server has said of each by `end`.
    pub async fn send(&self, trials: Vec<Trial>, end: Instant) -> Vec<Tried> {
        let start = Instant::now();
        let pieces = trials.iter().map(Trial::bytes).sum::<usize>().div_ceil(PIECE);
        let Ok(_room) = self
            .room
            .try_acquire_many(u32::try_from(pieces).unwrap_or(u32::MAX))
        else {
            return skip(trials, TOO_MANY);
        };
        if !self.pause().lets_through(start) {
            return skip(trials, TOO_SLOW);
        }
        let patience = end.saturating_duration_since(start).min(PATIENCE);
        let answers = trials.into_iter().map(|Trial { template, request }| async move {
            let answer = match tokio::time::timeout(patience, self.ask(request)).await {
                Ok(answer) => Answer::Given(answer),
                Err(_) => Answer::Late(patience),
            };
            Tried { template, answer }
        });
        let tried = join_all(answers).await;
        let is_late = |tried: &Tried| matches!(tried.answer, Answer::Late(_));
        if !tried.iter().all(is_late) {
            self.pause().answered();
        } else if patience > PATIENCE / 2 {
            // Whoever had less time was late already.
            self.pause().late(Instant::now());
        }
        tried
    }

    async fn ask(&self, request: kube::Result<http::Request<Vec<u8>>>) -> kube::Result<()> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        self.client.request_text(request?).await.map(drop)
    }
}

/// A template on its way to the API server.
pub struct Trial {
    template: Template,
    request: kube::Result<http::Request<Vec<u8>>>,
}

impl Trial {
    fn bytes(&self) -> usize {
        self.request.as_ref().map_or(0, |request| request.body().len())
    }
}

/// Does without.
fn skip(trials: Vec<Trial>, why: &'static str) -> Vec<Tried> {
    let untried = |Trial { template, .. }| Tried {
        template,
        answer: Answer::Skipped(why),
    };
    trials.into_iter().map(untried).collect()
}

/// What became of it.
pub struct Tried {
    template: Template,
    answer: Answer,
}

enum Answer {
    /// What the API server has said.
    Given(kube::Result<()>),
    /// It has said nothing within that time.
    Late(Duration),
    /// It was not asked, for this reason.
    Skipped(&'static str),
}

/// Returns what is to be sent about a resource: its templates that are not as in `old`.
pub fn trials(kind: DaskKind, object: &Value, old: Option<&Value>) -> Vec<Trial> {
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

/// Adds to `outcome` what the API server said.
pub fn say(tried: &[Tried], outcome: &mut Outcome) {
    for Tried { template, answer } in tried {
        let why = match answer {
            Answer::Given(Ok(())) => continue,
            Answer::Given(Err(kube::Error::Api(status))) => {
                templates::refused(template, status, outcome);
                continue;
            }
            Answer::Given(Err(error)) => error.to_string(),
            Answer::Late(patience) => format!(
                "the API server has not answered within {} ms",
                patience.as_millis()
            ),
            Answer::Skipped(why) => (*why).to_owned(),
        };
        outcome.warnings.push(untried(template, &why));
    }
}

/// Why dry runs are done without.
const TOO_SLOW: &str = "the API server was too slow for dry runs a moment ago";

/// The same.
const TOO_MANY: &str = "there are too many dry runs at once";

/// What is said of a template where the API server has not said whether it takes it.
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
    async fn a_template_is_sent_and_nothing_is_stored() {
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
    async fn a_slow_api_server_is_not_waited_for() {
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
        // The API server waits for the webhook no longer than it said.
        let mut outcome = Outcome::default();
        let end = Instant::now() + Duration::from_millis(600);
        check(&dry_run, end, &mut outcome).await;
        assert!(outcome.is_allowed() && Instant::now() <= end + Duration::from_millis(1));
    }

    /// How many seconds the webhook waits for a dry run, and what it says.
    async fn waits(dry_run: &DryRun) -> (u64, String) {
        let (start, mut outcome) = (Instant::now(), Outcome::default());
        check(dry_run, later(), &mut outcome).await;
        assert!(outcome.is_allowed(), "nobody is refused for that");
        (start.elapsed().as_secs(), outcome.notices().join("; "))
    }

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_api_server_is_left_alone_for_a_while() {
        let (service, handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let dry_run = DryRun::new(Client::new(service, "default"));
        for request in 0..MOST_LATE {
            assert_eq!(waits(&dry_run).await.0, 2, "request {request}");
        }
        for _ in 0..100 {
            let (seconds, said) = waits(&dry_run).await;
            assert_eq!(seconds, 0);
            assert!(said.ends_with(TOO_SLOW), "{said}");
        }
        // Then one tries, and the others don't wait for it.
        tokio::time::sleep(PAUSE).await;
        let (tries, others) = tokio::join!(waits(&dry_run), waits(&dry_run));
        assert_eq!((tries.0, others.0), (2, 0));
        assert_eq!(waits(&dry_run).await.0, 0);

        // As soon as it answers in time, everybody asks it again.
        let answering = tokio::spawn(answer_everything(handle));
        tokio::time::sleep(PAUSE).await;
        for _ in 0..3 {
            assert_eq!(waits(&dry_run).await, (0, String::new()));
        }
        answering.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_the_api_server_does_not_take_all_memory() {
        let (service, _handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let dry_run = DryRun::new(Client::new(service, "default"));
        let mut large = group();
        large["spec"]["worker"]["spec"]["x"] = "x".repeat(ROOM).into();
        let mut outcome = Outcome::default();
        let trials = trials(DaskKind::WorkerGroup, &large, None);
        say(&dry_run.send(trials, later()).await, &mut outcome);
        let said = outcome.notices().join("; ");
        assert!(outcome.is_allowed() && said.ends_with(TOO_MANY), "{said}");
        assert!(waits(&dry_run).await.1.contains("within 2000 ms"));
    }

    type Handle = tower_test::mock::Handle<http::Request<Body>, http::Response<Body>>;

    async fn answer_everything(mut handle: Handle) {
        while let Some((_, respond)) = handle.next_request().await {
            respond.send_response(http::Response::new(Body::from(b"{}".to_vec())));
        }
    }

    /// Pods of one namespace may have to pass a webhook that is slow.
    #[test]
    fn who_is_late_between_others_that_are_answered_stops_nobody() {
        let (now, mut pause) = (Instant::now(), Pause::default());
        for _ in 0..10 {
            for _ in 1..MOST_LATE {
                pause.late(now);
            }
            pause.answered();
            assert!(pause.lets_through(now));
        }
    }
}
