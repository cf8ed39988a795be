//! Calls over a scheduler's comm port.

use std::time::Duration;

use dask_operator_core::text;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::Address;
use crate::bounded::Items;
use crate::budget::Budget;
use crate::connection::{CallError, Connection};
use crate::decoding::ReplyBytes;
use crate::error::{Error, MAX_REMOTE_TEXT, Phase};
use crate::facts::{
    Facts, FactsRequest, Identity, IdentityReply, RetireReply, RetiredWorker, retired, saturate,
};
use crate::http::HttpScheduler;
use crate::message::{self, NoArguments, Number, Reply, Request, Text};
use crate::options::Options;

/// Creates handles for schedulers, with the same options for all of them.
#[derive(Debug, Clone, Default)]
pub struct Client {
    options: Options,
}

impl Client {
    /// Returns a client with these options.
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Returns a copy of this client whose messages use another budget.
    #[must_use]
    pub fn with_budget(&self, budget: Budget) -> Self {
        let options = Options {
            budget,
            ..self.options.clone()
        };
        Self { options }
    }

    /// Returns a handle for the scheduler at this address. The first call connects.
    pub fn scheduler(&self, address: Address) -> Scheduler {
        Scheduler {
            address,
            options: self.options.clone(),
            connection: None,
        }
    }

    /// Returns a handle for the HTTP server of a scheduler, for example `http://10.0.0.7:8787`.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is invalid.
    pub fn http(&self, url: &str) -> Result<HttpScheduler, Error> {
        HttpScheduler::new(url, self.options.clone())
    }
}

/// A handle for a scheduler's comm port, with a connection that stays open
/// between calls.
///
/// If the connection was closed while it was idle (for example because the
/// scheduler restarted), a call opens a new one, once. Dropping the future of a
/// call before it completes closes the connection.
pub struct Scheduler {
    address: Address,
    options: Options,
    connection: Option<Connection>,
}

/// A selection of workers.
#[derive(Debug, Clone, Copy)]
pub enum Workers<'a> {
    /// The workers with these addresses.
    Addresses(&'a [String]),
    /// The workers with these names. Several workers can have the same name.
    Names(&'a [String]),
}

/// The treatment of a retired worker after its data has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterRetirement {
    /// The worker stays registered with the status `closing_gracefully`, and
    /// gets no more tasks. The scheduler continues to count its results: when
    /// another worker is retired while this one is still registered, results
    /// that only these two workers have do not move, and are lost with both
    /// (`RetireWorker.done` in `distributed/active_memory_manager.py`).
    Stay,
    /// The scheduler removes the worker in the same step that finds its results
    /// on other workers. This is Dask's default, and the behaviour of the HTTP
    /// API. The worker notices with its next heartbeat, and exits. A supervisor
    /// that restarts its process makes it register again, so end the process soon.
    Forget,
    /// The scheduler removes the worker and tells it to exit.
    Close,
}

/// The attribute that identifies workers in the reply to `workers_to_close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// The workers' addresses.
    Address,
    /// The workers' names.
    Name,
}

impl Scheduler {
    /// Returns the address of the scheduler.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns whether a connection is left open from the last call.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Returns all facts that decisions about workers need.
    ///
    /// Makes up to three calls, one after the other, each with its own timeout.
    ///
    /// # Errors
    ///
    /// Returns an error if one of the calls fails.
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

    /// Returns the identity of the scheduler and all its workers.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails or if the server is not a scheduler.
    pub async fn identity(&mut self) -> Result<Identity, Error> {
        // Newer releases accept a maximum number of workers. The default is all.
        let reply: IdentityReply = self.value("identity", NoArguments {}).await?;
        reply.into_identity().map_err(|kind| Error::NotScheduler {
            address: self.address.to_string(),
            saw: format!("it calls itself {kind}"),
        })
    }

    /// Returns the number of workers with which the scheduler's present work would
    /// take `target_duration`. The scheduler does not know worker groups and their
    /// limits.
    ///
    /// `None` if the value is not a count: not a number, infinite, or negative.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
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

    /// Returns the time since which the scheduler has been idle, in milliseconds
    /// since 1970 by its own clock.
    ///
    /// `None` while it is busy, and for the first call after it was busy. Always
    /// `None` for releases before 2023.4.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
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

    /// Returns up to `n` workers that can be closed at the lowest cost, best
    /// first: idle ones, then those with the least data. In newer releases, workers
    /// with long-running tasks are never included.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
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

    /// Retires the workers at these addresses, which the scheduler then removes.
    /// Shorthand for [`retire_workers`](Self::retire_workers) with
    /// [`AfterRetirement::Forget`].
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    pub async fn retire(&mut self, addresses: &[String]) -> Result<Vec<RetiredWorker>, Error> {
        self.retire_workers(Workers::Addresses(addresses), AfterRetirement::Forget)
            .await
    }

    /// Retires workers: they get no new tasks, their data moves to other workers,
    /// and then `afterwards` applies. Returns the workers that were retired.
    ///
    /// The result is authoritative: a worker that is missing from it is unknown to
    /// the scheduler, or has data that no other worker can take, and continues to
    /// work.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails. After a timeout
    /// ([`Options::retire_timeout`]), the scheduler continues to retire the workers,
    /// and repeating the call for the same workers is safe.
    pub async fn retire_workers(
        &mut self,
        workers: Workers<'_>,
        afterwards: AfterRetirement,
    ) -> Result<Vec<RetiredWorker>, Error> {
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
            // The scheduler can take an empty selection for all workers.
            Workers::Addresses([]) | Workers::Names([]) => return Ok(Vec::new()),
            Workers::Addresses(addresses) => (Some(addresses), None),
            Workers::Names(names) => (None, Some(names)),
        };
        let arguments = Arguments {
            workers,
            names,
            close_workers: afterwards == AfterRetirement::Close,
            remove: afterwards != AfterRetirement::Stay,
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

    /// Makes a call that returns a value, with the timeout for calls.
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
            // The replies on this connection may be out of step with the requests.
            self.connection = None;
            self.protocol(name, error)
        })
    }

    /// Sends a request over the existing connection, or over a new one.
    async fn exchange(
        &mut self,
        name: &'static str,
        request: &[u8],
        limit: Duration,
    ) -> Result<ReplyBytes, Error> {
        // Taken out while in use: the connection can't be used again if the future is dropped midway.
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
            what: text::line(&what.to_string(), MAX_REMOTE_TEXT),
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

    /// Handles and their futures can be moved to tasks of any runtime.
    #[test]
    fn handles_and_calls_are_send() {
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
