//! How a scheduler is spoken to.

use std::time::Duration;

use dask_operator_runtime::contract::SchedulerWorker;
use dask_operator_scheduler::{
    Client, Error, Facts, FactsRequest, HttpScheduler, Options, Scheduler, TlsConfig,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;

use super::{Answers, Place, Questions};

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
pub struct Network(Client);

impl Network {
    /// Speaks to schedulers that want TLS with `tls`.
    #[must_use]
    pub fn new(tls: Option<TlsConfig>) -> Self {
        Self(Client::new(Options {
            retire_timeout: RETIRE,
            tls,
            ..Options::default()
        }))
    }
}

impl Dask for Network {
    fn talk(&self, place: &Place) -> Box<dyn Talk> {
        let http = place.http.as_ref().and_then(|url| self.0.http(url).ok());
        Box::new(Wire {
            comm: self.0.scheduler(place.comm.clone()),
            http,
        })
    }
}

/// A conversation over the comm port, or over HTTP where the operator has no certificate that the comm port takes.
struct Wire {
    comm: Scheduler,
    http: Option<HttpScheduler>,
}

impl Wire {
    async fn answers(&mut self, questions: &Questions) -> Result<Answers, Failure> {
        let asked_at = Timestamp::now().as_millisecond();
        let mut durations = questions.demand.iter().copied();
        let first = durations.next();
        let request = FactsRequest {
            desired_workers: first.is_some(),
            target_duration: first.flatten().map(Duration::from_millis),
            idle_since: questions.idle,
        };
        let facts = match self.comm.facts(&request).await {
            Ok(facts) => facts,
            Err(error) => match self.http.as_mut().filter(|_| is_about_tls(&error)) {
                Some(http) => http.facts(&request).await?,
                None => return Err(error.into()),
            },
        };
        let mut answers = answers(asked_at, first, facts);
        for duration in durations {
            let desired = self
                .comm
                .adaptive_target(duration.map(Duration::from_millis))
                .await?;
            answers.demand.extend(desired.map(|desired| (duration, desired)));
        }
        Ok(answers)
    }

    /// Retires workers; the scheduler forgets each of them at the moment when others hold its results. Returns the addresses
    /// of those.
    async fn leave(&mut self, addresses: &[String]) -> Result<Vec<String>, Failure> {
        let retired = match self.comm.retire(addresses).await {
            Ok(retired) => retired,
            Err(error) => match self.http.as_mut().filter(|_| is_about_tls(&error)) {
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

fn is_about_tls(error: &Error) -> bool {
    error.kind() == "tls"
}

fn answers(asked_at: i64, duration: Option<Option<u64>>, facts: Facts) -> Answers {
    let worker = |worker: dask_operator_scheduler::Worker| SchedulerWorker {
        address: worker.address,
        name: worker.name,
        status: worker.status,
        processing: worker.processing,
        managed_bytes: worker.managed_bytes,
        last_seen: worker.last_seen_ms,
    };
    Answers {
        asked_at,
        workers: facts.workers.into_iter().map(worker).collect(),
        demand: duration.zip(facts.desired_workers).into_iter().collect(),
        idle_since: facts.idle_since_ms,
    }
}
