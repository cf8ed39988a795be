//! Open-loop load: requests are due at a fixed rate, regardless of earlier answers. Latency is measured from the time at which
//! a request was due, so that it includes the time for which the request waited.

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

/// Maximum time to an answer, the same as the webhook timeout of the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Amount of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Duration of the load.
    pub(crate) duration: Duration,
    /// Number of connections, which are kept alive.
    pub(crate) connections: usize,
}

/// The measured server.
#[derive(Clone)]
pub(crate) struct Target {
    /// Address of the server.
    pub(crate) address: SocketAddr,
    /// TLS connector that trusts the server's certificate.
    pub(crate) tls: TlsConnector,
    /// URL path of the requests. `None` selects the path of the step.
    pub(crate) path: Option<&'static str>,
    /// True if the answers contain the UID of the request; false if the answers are fixed.
    pub(crate) echoes_uid: bool,
}

/// Results of a load.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Latencies of the requests, from the time at which a request was due until its answer was received. Sorted.
    times: Vec<Duration>,
    /// Time from the first due request until the last answer was received.
    duration: Duration,
}

impl Measured {
    /// Returns the latency within which this part of all requests was answered, such as 0.5 for the median.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        let at = (self.times.len() as f64 * part) as usize;
        self.times.get(at.min(last)).copied().unwrap_or_default()
    }

    /// Returns the number of answers per second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.duration.as_secs_f64()
    }

    /// Returns the number of answers.
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

/// Sends the reviews of `steps` in rotation.
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
        tasks.spawn(send_due(connection, queue.clone(), steps.clone(), target.clone()));
    }
    let start = Instant::now() + Duration::from_millis(20);
    let pace = std::thread::spawn(move || pace(start, load, &due));
    let mut times = Vec::new();
    while let Some(latencies) = tasks.join_next().await {
        times.extend(latencies??);
    }
    let duration = start.elapsed();
    ensure!(pace.join().is_ok(), "the thread that paces the load panicked");
    times.sort();
    Ok(Measured { times, duration })
}

/// Sends requests to the queue when they are due. Runs in its own thread, so that other work does not delay it.
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

/// Sends due requests on one connection, one after the other. Returns the latency of each.
async fn send_due(
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
        body::check(&answer, target.echoes_uid.then_some(number))?;
    }
}

/// Sends one request on a new connection.
pub(crate) async fn once(target: &Target, step: Step, review: &Review) -> Result<Bytes> {
    let mut connection = connect(target).await?;
    send(&mut connection, target, step, review.numbered(0)).await
}

async fn connect(target: &Target) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target.address)
        .await
        .with_context(|| format!("connecting to {}", target.address))?;
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
