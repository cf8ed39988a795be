//! Requests at a fixed rate, whatever becomes of those before: what waits is late, and counts from when it was due.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::body::{self, Review, Step};
use super::certificate::NAME;

/// How long an answer may take: what the API server waits for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Requests a second.
    pub(crate) rate: f64,
    /// For how long.
    pub(crate) duration: Duration,
    /// Connections that are kept alive.
    pub(crate) connections: usize,
}

/// Who is asked.
#[derive(Clone)]
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// How TLS is spoken with it.
    pub(crate) tls: TlsConnector,
    /// The path at which it is asked; none for that of the step.
    pub(crate) path: Option<&'static str>,
    /// Whether its answers are to the request, and not the same for all.
    pub(crate) answers: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Measured {
    /// From when a request was due until its answer was there; sorted.
    times: Vec<Duration>,
    /// From when the first was due until the last answer was there.
    took: Duration,
}

impl Measured {
    /// The time in which this part of all requests was answered.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        let at = (self.times.len() as f64 * part) as usize;
        self.times.get(at.min(last)).copied().unwrap_or_default()
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }

    /// Answers.
    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }
}

/// A request that is due.
#[derive(Clone, Copy)]
struct Due {
    number: u64,
    at: Instant,
}

/// Asks for `steps` in turn, with the review of each.
pub(crate) async fn run(target: &Target, steps: &[(Step, Review)], load: Load) -> Result<Measured> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(connect(target).await?);
    }
    let (due, queue) = mpsc::unbounded_channel();
    let queue = Arc::new(Mutex::new(queue));
    let steps: Arc<[(Step, Review)]> = steps.into();
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(ask(connection, queue.clone(), steps.clone(), target.clone()));
    }
    let start = Instant::now() + Duration::from_millis(20);
    let pace = std::thread::spawn(move || pace(start, load, &due));
    let mut times = Vec::new();
    while let Some(answered) = tasks.join_next().await {
        times.extend(answered??);
    }
    let took = start.elapsed();
    ensure!(pace.join().is_ok(), "the clock of the load has failed");
    times.sort();
    Ok(Measured { times, took })
}

/// Says when requests are due. A thread of its own: what else goes on must not make it late.
fn pace(start: Instant, load: Load, due: &mpsc::UnboundedSender<Due>) {
    let count = (load.rate * load.duration.as_secs_f64()) as u64;
    for number in 0..count {
        let at = start + Duration::from_secs_f64(number as f64 / load.rate);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if due.send(Due { number, at }).is_err() {
            return;
        }
    }
}

/// Sends what is due on one connection, one request after the other. Gives how long each took.
async fn ask(
    mut connection: SendRequest<Full<Bytes>>,
    queue: Arc<Mutex<mpsc::UnboundedReceiver<Due>>>,
    steps: Arc<[(Step, Review)]>,
    target: Target,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let next = queue.lock().await.recv().await;
        let Some(Due { number, at }) = next else {
            return Ok(times);
        };
        let (step, review) = &steps[usize::try_from(number)? % steps.len()];
        let answer = send(&mut connection, &target, *step, review.numbered(number)).await?;
        times.push(at.elapsed());
        body::check(&answer, target.answers.then_some(number))?;
    }
}

/// Asks once, on a connection of its own.
pub(crate) async fn once(target: &Target, step: Step, review: &Review) -> Result<Bytes> {
    let mut connection = connect(target).await?;
    send(&mut connection, target, step, review.numbered(0)).await
}

async fn connect(target: &Target) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target.address)
        .await
        .with_context(|| format!("nobody listens at {}", target.address))?;
    stream.set_nodelay(true)?;
    let stream = target.tls.connect(ServerName::try_from(NAME)?, stream).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn send(
    connection: &mut SendRequest<Full<Bytes>>,
    target: &Target,
    step: Step,
    body: Vec<u8>,
) -> Result<Bytes> {
    let path = target
        .path
        .map_or_else(|| format!("/{}?timeout=10s", step.name()), ToOwned::to_owned);
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, NAME)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body))?;
    let answer = async {
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        anyhow::Ok((status, answer.into_body().collect().await?.to_bytes()))
    };
    let (status, body) = tokio::time::timeout(TIMEOUT, answer)
        .await
        .context("no answer within 10 s")??;
    ensure!(
        status == StatusCode::OK,
        "{step:?} was answered by {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(body)
}
