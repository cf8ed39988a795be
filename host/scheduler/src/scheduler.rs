//! The calls of a scheduler's comm port.

use std::time::Duration;

use dask_operator_core::text;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::Address;
use crate::bounded::Items;
use crate::budget::Budget;
use crate::connection::{CallError, Connection};
use crate::decoding::Received;
use crate::error::{Error, Phase, WORDS};
use crate::facts::{Facts, FactsRequest, Identity, IdentityReply, RetireReply, Retired, retired, saturate};
use crate::http::HttpScheduler;
use crate::message::{self, NoArguments, Number, Reply, Request, Text};
use crate::options::Options;

/// Makes handles for schedulers that are asked in the same manner.
#[derive(Debug, Clone, Default)]
pub struct Client {
    options: Options,
}

impl Client {
    /// A client that behaves like this.
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// A client like this one, whose messages take from another budget.
    #[must_use]
    pub fn with_budget(&self, budget: Budget) -> Self {
        let options = Options {
            budget,
            ..self.options.clone()
        };
        Self { options }
    }

    /// A handle for the scheduler at this address. Connects only when something is asked.
    pub fn scheduler(&self, address: Address) -> Scheduler {
        Scheduler {
            address,
            options: self.options.clone(),
            connection: None,
        }
    }

    /// A handle for the HTTP server of a scheduler, for example `http://10.0.0.7:8787`.
    pub fn http(&self, url: &str) -> Result<HttpScheduler, Error> {
        HttpScheduler::new(url, self.options.clone())
    }
}

/// A scheduler, asked over its comm port, with a connection that stays open
/// between calls.
///
/// When the connection turns out to have died while nothing was asked (the
/// scheduler was restarted, or closed it), a call makes a new one, once. A call
/// that is dropped before its end closes the connection.
pub struct Scheduler {
    address: Address,
    options: Options,
    connection: Option<Connection>,
}

/// Which workers.
#[derive(Debug, Clone, Copy)]
pub enum Workers<'a> {
    /// Those with these addresses.
    Addresses(&'a [String]),
    /// Those with these names. More than one worker can have a name.
    Names(&'a [String]),
}

/// What becomes of a worker that is retired, after its data has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// It stays registered with the status `closing_gracefully`, and takes no
    /// more tasks. The scheduler goes on counting what it holds: of another
    /// worker that is retired while this one is still registered, results that
    /// only this one has as well do not move, and are lost with both
    /// (`RetireWorker.done` in `distributed/active_memory_manager.py`).
    Stay,
    /// The scheduler forgets it in the same step that finds its results to be
    /// held by others. What Dask does by default, and what the HTTP API does.
    /// The worker notices with its next heartbeat, and exits; what restarts its
    /// process makes it register again, so end the process soon.
    Forget,
    /// The scheduler forgets it and tells it to exit.
    Close,
}

/// What to say of workers that could be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// Their addresses.
    Address,
    /// Their names.
    Name,
}

impl Scheduler {
    /// Its address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether there is a connection left from the last call.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Everything a decision about workers needs.
    ///
    /// Up to three calls, one after the other, each within the time for a call.
    pub async fn facts(&mut self, request: &FactsRequest) -> Result<Facts, Error> {
        let workers = self.identity().await?.workers;
        let desired_workers = match request.desired_workers {
            true => self.adaptive_target(request.target_duration).await?,
            false => None,
        };
        let idle_since_ms = match request.idle_since {
            true => self.check_idle().await?,
            false => None,
        };
        Ok(Facts {
            workers,
            desired_workers,
            idle_since_ms,
        })
    }

    /// Who the scheduler is, and all its workers.
    pub async fn identity(&mut self) -> Result<Identity, Error> {
        // Newer releases take a number of workers to tell about; their default is all.
        let reply: IdentityReply = self.value("identity", NoArguments {}).await?;
        reply.into_identity().map_err(|kind| Error::NotScheduler {
            address: self.address.to_string(),
            saw: format!("it calls itself {kind}"),
        })
    }

    /// How many workers the scheduler could use for what it has to do, so that
    /// it takes `target_duration`. Groups of workers and limits are unknown to it.
    ///
    /// None where it answers something else than a count: not a number, infinite, or negative.
    pub async fn adaptive_target(&mut self, target_duration: Option<Duration>) -> Result<Option<u32>, Error> {
        #[derive(Serialize)]
        struct Arguments {
            #[serde(skip_serializing_if = "Option::is_none")]
            target_duration: Option<f64>,
        }
        let target_duration = target_duration.map(|duration| duration.as_secs_f64());
        let target: Number = self
            .value("adaptive_target", Arguments { target_duration })
            .await?;
        Ok(target.count().map(saturate))
    }

    /// Since when the scheduler has had nothing to do, in milliseconds since
    /// 1970 by its own clock.
    ///
    /// None while it is busy, and for the first time that it is asked after it
    /// was. Releases before 2023.4 always say none.
    pub async fn check_idle(&mut self) -> Result<Option<i64>, Error> {
        match self
            .call::<Number>("check_idle", NoArguments {}, self.options.call_timeout)
            .await?
        {
            Reply::Value(since) => Ok(since.milliseconds()),
            Reply::Nothing => Ok(None),
            Reply::Exception(text) => Err(self.exception("check_idle", text)),
        }
    }

    /// Up to `n` workers that can be closed at the least cost, best first: idle
    /// ones, then those with least data. Workers with long-running tasks are
    /// never among them (in newer releases).
    pub async fn workers_to_close(&mut self, n: u32, attribute: Attribute) -> Result<Vec<String>, Error> {
        #[derive(Serialize)]
        struct Arguments {
            n: u32,
            attribute: &'static str,
        }
        let attribute = match attribute {
            Attribute::Address => "address",
            Attribute::Name => "name",
        };
        let Items(workers): Items<Text> = self.value("workers_to_close", Arguments { n, attribute }).await?;
        Ok(workers.into_iter().filter_map(|Text(text)| text).collect())
    }

    /// Retires the workers at these addresses, which the scheduler then forgets.
    /// Shorthand for [`retire_workers`](Self::retire_workers) with
    /// [`Afterwards::Forget`].
    pub async fn retire(&mut self, addresses: &[String]) -> Result<Vec<Retired>, Error> {
        self.retire_workers(Workers::Addresses(addresses), Afterwards::Forget)
            .await
    }

    /// Retires workers: they get no new tasks, their data moves to others, and
    /// then `afterwards` happens. Returns those that were retired.
    ///
    /// The answer is the truth: a worker that is not in it is unknown to the
    /// scheduler, or holds data that nobody can take, and goes on working. When
    /// the time ([`Options::retire_timeout`]) is over, the scheduler goes on
    /// retiring; asking again for the same workers is safe.
    pub async fn retire_workers(
        &mut self,
        workers: Workers<'_>,
        afterwards: Afterwards,
    ) -> Result<Vec<Retired>, Error> {
        #[derive(Serialize)]
        struct Arguments<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            workers: Option<&'a [String]>,
            #[serde(skip_serializing_if = "Option::is_none")]
            names: Option<&'a [String]>,
            close_workers: bool,
            remove: bool,
        }
        let (workers, names) = match workers {
            // To the scheduler, nobody in particular can mean anybody.
            Workers::Addresses([]) | Workers::Names([]) => return Ok(Vec::new()),
            Workers::Addresses(addresses) => (Some(addresses), None),
            Workers::Names(names) => (None, Some(names)),
        };
        let arguments = Arguments {
            workers,
            names,
            close_workers: afterwards == Afterwards::Close,
            remove: afterwards != Afterwards::Stay,
        };
        let name = "retire_workers";
        match self
            .call::<RetireReply>(name, arguments, self.options.retire_timeout)
            .await?
        {
            Reply::Value(reply) => Ok(retired(reply)),
            Reply::Nothing => Err(self.unsupported(name)),
            Reply::Exception(text) => Err(self.exception(name, text)),
        }
    }

    /// A call that returns something.
    async fn value<T: DeserializeOwned + Send + 'static>(
        &mut self,
        name: &'static str,
        arguments: impl Serialize,
    ) -> Result<T, Error> {
        match self.call(name, arguments, self.options.call_timeout).await? {
            Reply::Value(value) => Ok(value),
            Reply::Nothing => Err(self.unsupported(name)),
            Reply::Exception(text) => Err(self.exception(name, text)),
        }
    }

    async fn call<T: DeserializeOwned + Send + 'static>(
        &mut self,
        name: &'static str,
        arguments: impl Serialize,
        limit: Duration,
    ) -> Result<Reply<T>, Error> {
        let request = message::encode(&Request {
            op: name,
            reply: true,
            arguments,
        })
        .map_err(|error| self.protocol(name, error))?;
        let frame = self.exchange(name, &request, limit).await?;
        let decoders = self.options.decoders.as_ref();
        let decoded = frame.decode(decoders, message::decode_reply::<T>).await;
        decoded.map_err(|error| {
            // Whoever answers so may be out of step.
            self.connection = None;
            self.protocol(name, error)
        })
    }

    /// Sends a request over the connection that is there, or over a new one.
    async fn exchange(
        &mut self,
        name: &'static str,
        request: &[u8],
        limit: Duration,
    ) -> Result<Received, Error> {
        // Taken out while in use: what is given up in the middle can't be used again.
        if let Some(mut connection) = self.connection.take() {
            match connection.call(name, request, limit).await {
                Ok(frame) => {
                    self.connection = Some(connection);
                    return Ok(frame);
                }
                Err(CallError { unanswered: true, .. }) => {}
                Err(CallError { error, .. }) => return Err(error),
            }
        }
        let mut connection = Connection::open(&self.address, &self.options).await?;
        let frame = connection
            .call(name, request, limit)
            .await
            .map_err(|error| error.error)?;
        self.connection = Some(connection);
        Ok(frame)
    }

    fn protocol(&self, name: &'static str, what: impl ToString) -> Error {
        Error::Protocol {
            address: self.address.to_string(),
            phase: Phase::Call(name),
            what: text::line(&what.to_string(), WORDS),
        }
    }

    fn unsupported(&self, call: &'static str) -> Error {
        let hint = "its release of distributed is older than 2022.8, or it was changed";
        Error::Unsupported {
            address: self.address.to_string(),
            call,
            hint,
        }
    }

    fn exception(&self, call: &'static str, text: String) -> Error {
        Error::Exception {
            address: self.address.to_string(),
            call,
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Handles and their calls go to tasks of any runtime.
    #[test]
    fn can_be_sent() {
        fn send(_: &impl Send) {}
        let mut scheduler = Client::default().scheduler(Address::new(crate::Scheme::Tcp, "::1", 1));
        send(&scheduler);
        send(&scheduler.facts(&FactsRequest::default()));
        send(&scheduler.retire(&[]));
        if let Ok(http) = Client::default().http("http://[::1]/scheduler") {
            send(&http.facts(&FactsRequest::default()));
        }
    }
}
