//! How a scheduler is spoken to.

use std::collections::BTreeMap;
use std::time::Duration;

use dask_operator_runtime::contract::SchedulerWorker;
use dask_operator_scheduler::{
    Budget, Client, Error, FactsRequest, HttpScheduler, Options, Scheduler, TlsConfig,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;

use super::{Answers, Place, Questions};
use crate::threads;

/// Why a scheduler did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In a word, for a metric's label.
    pub kind: &'static str,
    /// In a sentence.
    pub message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

/// Speaks to schedulers.
pub trait Dask: Send + Sync {
    /// Begins to speak to the one at `place`. Nothing is sent yet.
    fn talk(&self, place: &Place) -> Box<dyn Talk>;
}

/// A conversation with one scheduler.
pub trait Talk: Send {
    /// Asks.
    fn ask<'a>(&'a mut self, questions: &'a Questions) -> BoxFuture<'a, Result<Answers, Failure>>;

    /// Lets workers hand on what they hold, and take nothing new; gives those that could.
    fn retire<'a>(&'a mut self, addresses: &'a [String]) -> BoxFuture<'a, Result<Vec<String>, Failure>>;
}

/// How long a scheduler may take to move what workers hold.
const RETIRE: Duration = Duration::from_secs(600);

/// Speaks to schedulers over the network.
#[derive(Debug)]
pub struct Network {
    client: Client,
    /// What is read at the same time from all schedulers. Those in one namespace share a part of it.
    budget: Budget,
    /// Whether the operator has something to prove who it is.
    has_certificate: bool,
}

impl Network {
    /// Speaks to schedulers that want TLS with `tls`.
    #[must_use]
    pub fn new(tls: Option<TlsConfig>) -> Self {
        let has_certificate = tls.is_some();
        let options = Options {
            retire_timeout: RETIRE,
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

impl Dask for Network {
    fn talk(&self, place: &Place) -> Box<dyn Talk> {
        let client = self.client.with_budget(self.budget.of(&place.namespace));
        let http = place.http.as_ref().filter(|_| !self.has_certificate);
        Box::new(Wire {
            comm: client.scheduler(place.comm.clone()),
            http: http.and_then(|url| client.http(url).ok()),
        })
    }
}

/// A conversation over the comm port, or over HTTP where that port wants a certificate and the operator has none.
struct Wire {
    comm: Scheduler,
    /// None for an operator that has a certificate: where the comm port does not take it, or shows one that is not
    /// accepted, somebody else may be there, and whatever HTTP answered would be theirs.
    http: Option<HttpScheduler>,
}

impl Wire {
    async fn answers(&mut self, questions: &Questions) -> Result<Answers, Failure> {
        let asked_at = Timestamp::now().as_millisecond();
        match self.over_comm(asked_at, questions).await {
            Ok(answers) => Ok(answers),
            Err(error) => match self.http.as_mut().filter(|_| wants_certificate(&error)) {
                Some(http) => over_http(http, asked_at, questions).await.map_err(Failure::from),
                None => Err(error.into()),
            },
        }
    }

    /// Asks for the workers last: while other answers are waited for, there are not ever more workers in memory.
    async fn over_comm(&mut self, asked_at: i64, questions: &Questions) -> Result<Answers, Error> {
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
            asked_at,
            workers: workers.into_iter().map(worker).collect(),
            demand,
            idle_since,
        })
    }

    /// Retires workers; the scheduler forgets each of them at the moment when others hold its results. Returns the addresses
    /// of those.
    async fn leave(&mut self, addresses: &[String]) -> Result<Vec<String>, Failure> {
        let retired = match self.comm.retire(addresses).await {
            Ok(retired) => retired,
            Err(error) => match self.http.as_mut().filter(|_| wants_certificate(&error)) {
                Some(http) => http.retire(addresses).await?,
                None => return Err(error.into()),
            },
        };
        Ok(retired.into_iter().map(|worker| worker.address).collect())
    }
}

impl Talk for Wire {
    fn ask<'a>(&'a mut self, questions: &'a Questions) -> BoxFuture<'a, Result<Answers, Failure>> {
        self.answers(questions).boxed()
    }

    fn retire<'a>(&'a mut self, addresses: &'a [String]) -> BoxFuture<'a, Result<Vec<String>, Failure>> {
        self.leave(addresses).boxed()
    }
}

/// Whether a scheduler could not be asked because no certificate is configured.
fn wants_certificate(error: &Error) -> bool {
    matches!(error, Error::TlsNotConfigured { .. } | Error::TlsRequired { .. })
}

/// Asks over HTTP, which tells of the demand for the scheduler's own target duration only.
async fn over_http(http: &HttpScheduler, asked_at: i64, questions: &Questions) -> Result<Answers, Error> {
    let duration = questions.demand.first().copied();
    let request = FactsRequest {
        desired_workers: duration.is_some(),
        target_duration: duration.flatten().map(Duration::from_millis),
        idle_since: questions.idle,
    };
    let facts = http.facts(&request).await?;
    Ok(Answers {
        asked_at,
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

    /// Somebody who answers whatever comes with these bytes. Gives the port.
    async fn listens(answer: &'static [u8]) -> u16 {
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

    /// A certificate that is its own authority.
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
    const INVENTED: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{\"type\":\"Scheduler\",\"workers\":{}}";

    /// Who stands between the operator and a scheduler with TLS can break it, and answer over HTTP.
    #[rstest]
    #[case::garbage(Scheme::Tls, true, GARBAGE, false)]
    #[case::alert(Scheme::Tls, true, ALERT, false)]
    #[case::plain_scheduler_wants_tls(Scheme::Tcp, true, ALERT, false)]
    #[case::no_certificate(Scheme::Tls, false, GARBAGE, true)]
    #[case::no_certificate_and_tls_wanted(Scheme::Tcp, false, ALERT, true)]
    #[case::no_certificate_and_no_dask(Scheme::Tcp, false, GARBAGE, false)]
    #[tokio::test]
    async fn http_is_only_asked_without_a_certificate(
        #[case] scheme: Scheme,
        #[case] has_certificate: bool,
        #[case] comm: &'static [u8],
        #[case] answers: bool,
    ) {
        let place = Place {
            namespace: "n".into(),
            comm: Address::new(scheme, "127.0.0.1", listens(comm).await),
            http: Some(format!("http://127.0.0.1:{}", listens(INVENTED).await)),
        };
        let network = Network::new(has_certificate.then(certificate));
        let answered = network.talk(&place).ask(&Questions::default()).await;
        assert_eq!(answered.is_ok(), answers, "{answered:?}");
        let retired = network.talk(&place).retire(&["tcp://1".to_owned()]).await;
        assert!(answers || retired.is_err(), "{retired:?}");
    }
}
