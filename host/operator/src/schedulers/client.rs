//! Connections to schedulers, over Dask's own protocol or HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use dask_operator_runtime::contract::SchedulerWorker;
use dask_operator_scheduler::{
    Budget, Client, Error, ErrorKind, FactsRequest, HttpScheduler, Options, Scheduler, TlsConfig,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;

use super::{Answers, Endpoint, Questions};
use crate::threads;

/// Error of a query to a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Kind of the error.
    pub(crate) kind: FailureKind,
    /// Message for users.
    pub(crate) message: String,
}

dask_operator_core::reasons! {
    /// Kind of a failed query to a scheduler, as a short word for the label of a metric.
    pub(crate) enum FailureKind {
        /// The cluster has no scheduler that can be queried.
        NoScheduler => "no-scheduler",
    } containing {
        /// The query failed, or there is no memory for its answer ([`ErrorKind::Busy`]).
        Client(ErrorKind),
    }
}

impl Failure {
    /// Returns the failure of a cluster without a scheduler that can be queried, for this reason.
    pub(super) fn no_scheduler(message: String) -> Self {
        Self {
            kind: FailureKind::NoScheduler,
            message,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            kind: FailureKind::Client(error.kind()),
            message: error.to_string(),
        }
    }
}

/// Client that connects to schedulers.
pub(crate) trait SchedulerClient: Send + Sync {
    /// Returns a session with the scheduler at `endpoint`. Sends nothing yet.
    fn session(&self, endpoint: &Endpoint) -> Box<dyn Session>;
}

/// A connection to one scheduler.
pub(crate) trait Session: Send {
    /// Queries the scheduler.
    fn query<'a>(&'a mut self, questions: &'a Questions) -> BoxFuture<'a, Result<Answers, Failure>>;

    /// Retires workers: they hand their results on to others and accept no new tasks. Returns the addresses of those that
    /// could do so.
    fn retire<'a>(&'a mut self, addresses: &'a [String]) -> BoxFuture<'a, Result<Vec<String>, Failure>>;
}

/// Timeout for moving the results of retired workers.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(600);

/// Client that connects to schedulers over the network.
#[derive(Debug)]
pub(crate) struct NetworkClient {
    client: Client,
    /// Bytes that are read at the same time from all schedulers. Those in one namespace share a part of them.
    budget: Budget,
    /// True if the operator has a client certificate.
    has_certificate: bool,
}

impl NetworkClient {
    /// Creates a client that connects with `tls` to schedulers that require TLS.
    #[must_use]
    pub(crate) fn new(tls: Option<TlsConfig>) -> Self {
        let has_certificate = tls.is_some();
        let options = Options {
            retire_timeout: RETIRE_TIMEOUT,
            decoders: threads::heavy(),
            tls,
            ..Options::default()
        };
        Self {
            budget: options.budget.clone(),
            has_certificate,
            client: Client::new(options),
        }
    }
}

impl SchedulerClient for NetworkClient {
    fn session(&self, endpoint: &Endpoint) -> Box<dyn Session> {
        let client = self.client.with_budget(self.budget.of(&endpoint.namespace));
        let http = endpoint.http.as_ref().filter(|_| !self.has_certificate);
        Box::new(Connection {
            comm: client.scheduler(endpoint.comm.clone()),
            http: http.and_then(|url| client.http(url).ok()),
        })
    }
}

/// A connection to the comm port, or to the HTTP server if the comm port requires a certificate and the operator has none.
struct Connection {
    comm: Scheduler,
    /// `None` if the operator has a certificate. If the comm port then rejects it, or presents one that is not trusted, an
    /// attacker may answer there, and HTTP answers would come from the attacker too.
    http: Option<HttpScheduler>,
}

impl Connection {
    async fn query_with_fallback(&mut self, questions: &Questions) -> Result<Answers, Failure> {
        let queried_at = Timestamp::now().as_millisecond();
        match self.query_comm(queried_at, questions).await {
            Ok(answers) => Ok(answers),
            Err(error) => match self.http.as_mut().filter(|_| error.needs_certificate()) {
                Some(http) => query_http(http, queried_at, questions)
                    .await
                    .map_err(Failure::from),
                None => Err(error.into()),
            },
        }
    }

    /// Queries the comm port. Reads the workers last, so that they are not held in memory while other answers are pending.
    async fn query_comm(&mut self, queried_at: i64, questions: &Questions) -> Result<Answers, Error> {
        let mut demand = BTreeMap::new();
        for duration in questions.demand.iter().copied() {
            let target = duration.map(Duration::from_millis);
            let desired = self.comm.adaptive_target(target).await?;
            demand.extend(desired.map(|desired| (duration, desired)));
        }
        let idle_since = match questions.idle {
            true => self.comm.check_idle().await?,
            false => None,
        };
        let workers = self.comm.identity().await?.workers;
        Ok(Answers {
            queried_at,
            workers: workers.into_iter().map(worker).collect(),
            demand,
            idle_since,
        })
    }

    /// Retires workers and returns the addresses of those that were retired. The scheduler forgets a worker as soon as other
    /// workers hold its results.
    async fn retire_workers(&mut self, addresses: &[String]) -> Result<Vec<String>, Failure> {
        let retired = match self.comm.retire(addresses).await {
            Ok(retired) => retired,
            Err(error) => match self.http.as_mut().filter(|_| error.needs_certificate()) {
                Some(http) => http.retire(addresses).await?,
                None => return Err(error.into()),
            },
        };
        Ok(retired.into_iter().map(|worker| worker.address).collect())
    }
}

impl Session for Connection {
    fn query<'a>(&'a mut self, questions: &'a Questions) -> BoxFuture<'a, Result<Answers, Failure>> {
        self.query_with_fallback(questions).boxed()
    }

    fn retire<'a>(&'a mut self, addresses: &'a [String]) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        self.retire_workers(addresses).boxed()
    }
}

/// Queries the HTTP server. The server reports the demand only for the scheduler's own target duration, and the answer is
/// returned for the first requested one.
async fn query_http(http: &HttpScheduler, queried_at: i64, questions: &Questions) -> Result<Answers, Error> {
    let duration = questions.demand.first().copied();
    let request = FactsRequest {
        desired_workers: duration.is_some(),
        target_duration: duration.flatten().map(Duration::from_millis),
        idle_since: questions.idle,
    };
    let facts = http.facts(&request).await?;
    Ok(Answers {
        queried_at,
        workers: facts.workers.into_iter().map(worker).collect(),
        demand: duration.zip(facts.desired_workers).into_iter().collect(),
        idle_since: facts.idle_since_ms,
    })
}

fn worker(worker: dask_operator_scheduler::Worker) -> SchedulerWorker {
    SchedulerWorker {
        address: worker.address,
        name: worker.name,
        status: worker.status,
        processing: worker.processing,
        managed_bytes: worker.managed_bytes,
        last_seen: worker.last_seen_ms,
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_scheduler::{Address, Scheme};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rstest::rstest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Starts a server that answers everything with these bytes. Returns its port.
    async fn serve(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
            }
        });
        port
    }

    /// Returns a configuration with a self-signed certificate.
    fn certificate() -> TlsConfig {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        TlsConfig::from_pem(pem.as_bytes(), pem.as_bytes(), key.serialize_pem().as_bytes())
            .expect("a configuration")
    }

    const GARBAGE: &[u8] = b"ahoy, ahoy, ahoy, ahoy\r\n";
    const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];
    const FORGED: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{\"type\":\"Scheduler\",\"workers\":{}}";

    /// An attacker between the operator and a scheduler can break the TLS connection and answer over HTTP.
    #[rstest]
    #[case::garbage(Scheme::Tls, true, GARBAGE, false)]
    #[case::alert(Scheme::Tls, true, ALERT, false)]
    #[case::plain_scheduler_wants_tls(Scheme::Tcp, true, ALERT, false)]
    #[case::no_certificate(Scheme::Tls, false, GARBAGE, true)]
    #[case::no_certificate_and_tls_wanted(Scheme::Tcp, false, ALERT, true)]
    #[case::no_certificate_and_no_dask(Scheme::Tcp, false, GARBAGE, false)]
    #[tokio::test]
    async fn falls_back_to_http_only_without_a_certificate(
        #[case] scheme: Scheme,
        #[case] has_certificate: bool,
        #[case] comm: &'static [u8],
        #[case] answers: bool,
    ) {
        let endpoint = Endpoint {
            namespace: "n".into(),
            comm: Address::new(scheme, "127.0.0.1", serve(comm).await),
            http: Some(format!("http://127.0.0.1:{}", serve(FORGED).await)),
        };
        let client = NetworkClient::new(has_certificate.then(certificate));
        let answered = client.session(&endpoint).query(&Questions::default()).await;
        assert_eq!(answered.is_ok(), answers, "{answered:?}");
        let retired = client.session(&endpoint).retire(&["tcp://1".to_owned()]).await;
        assert!(answers || retired.is_err(), "{retired:?}");
    }
}
