//! The HTTP pages of a scheduler, where they are on and enough.
//!
//! `/json/*` is on by default and tells facts. `/api/v1/*` is on only if
//! `distributed.http.scheduler.api` is among the routes that the scheduler is
//! configured with.
//!
//! The workers in `/json/identity.json` can't be relied on: newer releases
//! answer with an error while tasks run. The comm port has no such gaps.

use std::time::Duration;

use bytes::Bytes;
use dask_operator_core::text;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::address;
use crate::bounded::Items;
use crate::budget::{NoneLeft, Share};
use crate::connection::tcp;
use crate::decoding::Received;
use crate::error::{Error, Phase, WORDS};
use crate::facts::{Facts, FactsRequest, Identity, IdentityReply, RetireReply, Retired, retired, saturate};
use crate::message::{Number, Text};
use crate::options::Options;
use crate::wire::grow;

/// The port of a scheduler's HTTP server unless told otherwise.
const DEFAULT_PORT: u16 = 8787;

const IDENTITY: &str = "/json/identity.json";

/// A scheduler, asked over its HTTP server; a connection for each call.
#[derive(Debug)]
pub struct HttpScheduler {
    url: String,
    host: String,
    port: u16,
    prefix: String,
    options: Options,
}

impl HttpScheduler {
    /// A handle for the HTTP server at this URL, which may have a path in front of `/json` and `/api`.
    pub(crate) fn new(url: &str, options: Options) -> Result<Self, Error> {
        let invalid = |reason: &str| Error::NotScheduler {
            address: url.to_owned(),
            saw: format!("{reason}; write for example http://10.0.0.7:8787"),
        };
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| invalid("its URL does not begin with http://"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = address::split(authority).map_err(invalid)?;
        let prefix = path.trim_end_matches('/').to_owned();
        if prefix.parse::<http::uri::PathAndQuery>().is_err() && !prefix.is_empty() {
            return Err(invalid("its URL has characters that no path has"));
        }
        Ok(Self {
            url: url.to_owned(),
            host: host.to_owned(),
            port: port.unwrap_or(DEFAULT_PORT),
            prefix,
            options,
        })
    }

    /// The same as over the comm port, as far as `/json` tells it: desired
    /// workers only for the scheduler's own target duration, and idleness only
    /// where the API is on.
    pub async fn facts(&self, request: &FactsRequest) -> Result<Facts, Error> {
        #[derive(Deserialize)]
        struct Counts {
            desired_workers: Number,
        }
        let desired_workers = match request.desired_workers {
            true => {
                let counts: Counts = self.get("/json/counts.json").await?;
                counts.desired_workers.count().map(saturate)
            }
            false => None,
        };
        let idle_since_ms = match request.idle_since {
            true => match self.check_idle().await {
                Err(Error::Unsupported { .. }) => None,
                answer => answer?,
            },
            false => None,
        };
        // Last, so that there are not ever more workers in memory while the other answers are waited for.
        let workers = self.identity().await?.workers;
        Ok(Facts {
            workers,
            desired_workers,
            idle_since_ms,
        })
    }

    /// Who the scheduler is, and all its workers: `/json/identity.json`.
    pub async fn identity(&self) -> Result<Identity, Error> {
        let reply: IdentityReply = self.get(IDENTITY).await?;
        reply.into_identity().map_err(|kind| Error::NotScheduler {
            address: self.url.clone(),
            saw: format!("it calls itself {kind}"),
        })
    }

    /// How many workers the scheduler could use: `/api/v1/adaptive_target`. None where it answers something else than a count.
    pub async fn adaptive_target(&self) -> Result<Option<u32>, Error> {
        /// One pre-release called it otherwise.
        #[derive(Deserialize)]
        struct Target {
            #[serde(alias = "desired_workers")]
            workers: Number,
        }
        let target: Target = self.get("/api/v1/adaptive_target").await?;
        Ok(target.workers.count().map(saturate))
    }

    /// Since when the scheduler has had nothing to do: `/api/v1/check_idle`, as
    /// [`Scheduler::check_idle`](crate::Scheduler::check_idle) says. Releases
    /// before 2023.4 do not have it.
    pub async fn check_idle(&self) -> Result<Option<i64>, Error> {
        #[derive(Deserialize)]
        struct Idle {
            idle_since: Number,
        }
        let idle: Idle = self.get("/api/v1/check_idle").await?;
        Ok(idle.idle_since.milliseconds())
    }

    /// Address and name of all workers: `/api/v1/get_workers`.
    pub async fn get_workers(&self) -> Result<Vec<Retired>, Error> {
        #[derive(Deserialize)]
        struct Workers {
            workers: Items<Known>,
        }
        #[derive(Deserialize)]
        struct Known {
            name: Text,
            address: Text,
        }
        let workers: Workers = self.get("/api/v1/get_workers").await?;
        let named = |Known { name, address }| {
            let address = address.0?;
            Some(Retired {
                name: name.0.unwrap_or_else(|| String::clone(&address)),
                address,
            })
        };
        Ok(workers.workers.0.into_iter().filter_map(named).collect())
    }

    /// Retires the workers at these addresses: `/api/v1/retire_workers`. The
    /// scheduler forgets them, see [`Afterwards::Forget`](crate::Afterwards::Forget).
    /// [`Scheduler::retire_workers`](crate::Scheduler::retire_workers) says what
    /// to think of the answer. Here, status 500 can also mean that workers were
    /// retired, but that the answer could not be written as JSON.
    pub async fn retire(&self, addresses: &[String]) -> Result<Vec<Retired>, Error> {
        #[derive(Serialize)]
        struct Arguments<'a> {
            workers: &'a [String],
        }
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let path = "/api/v1/retire_workers";
        let body = serde_json::to_vec(&Arguments { workers: addresses })
            .map_err(|error| self.protocol(path, error.to_string()))?;
        let reply: RetireReply = self
            .call(Method::POST, path, body, self.options.retire_timeout)
            .await?;
        Ok(retired(reply))
    }

    async fn get<T: DeserializeOwned + Send + 'static>(&self, path: &'static str) -> Result<T, Error> {
        self.call(Method::GET, path, Vec::new(), self.options.call_timeout)
            .await
    }

    async fn call<T: DeserializeOwned + Send + 'static>(
        &self,
        method: Method,
        path: &'static str,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<T, Error> {
        let mut share = self.options.budget.share();
        let exchanged = timeout(limit, self.exchange(method, path, body, &mut share)).await;
        let (status, bytes) = match exchanged {
            Ok(exchanged) => exchanged?,
            Err(_) => return Err(self.late(Phase::Call(path), limit, &share)),
        };
        let body = Received::new(bytes, share);
        match status {
            StatusCode::OK => {
                let decoded = body.decode(self.options.decoders.as_ref(), json).await;
                decoded.map_err(|error| self.protocol(path, error))
            }
            StatusCode::NOT_FOUND if path.starts_with("/api/") => Err(Error::Unsupported {
                address: self.url.clone(),
                call: path,
                hint: "distributed.http.scheduler.api is not among its HTTP routes, or its release is older",
            }),
            // Keys of metrics that are tuples, which JSON has not.
            StatusCode::INTERNAL_SERVER_ERROR if path == IDENTITY => Err(Error::Unsupported {
                address: self.url.clone(),
                call: path,
                hint: "newer releases fail to write it while tasks run; ask the comm port instead",
            }),
            status => {
                let beginning = &body.bytes()[..body.bytes().len().min(200)];
                Err(Error::Http {
                    address: self.url.clone(),
                    call: path,
                    status: status.as_u16(),
                    text: text::line(&String::from_utf8_lossy(beginning), WORDS),
                })
            }
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &'static str,
        body: Vec<u8>,
        share: &mut Share,
    ) -> Result<(StatusCode, Vec<u8>), Error> {
        let phase = Phase::Call(path);
        let connecting = tcp(self.url.clone(), &self.host, self.port);
        let stream = match timeout(self.options.connect_timeout, connecting).await {
            Ok(stream) => TokioIo::new(stream?),
            Err(_) => return Err(self.late(Phase::Connect, self.options.connect_timeout, share)),
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .map_err(|error| self.hyper(phase, &error))?;
        let host = match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.protocol(path, error.to_string()))?;
        let answer = async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(|error| self.hyper(phase, &error))?;
            let status = answer.status();
            // What has begun to arrive holds a part of the budget, so it does not have as long as the call.
            let arrival = self.options.call_timeout;
            let received = timeout(arrival, self.receive(phase, answer.into_body(), share)).await;
            match received {
                Ok(body) => Ok((status, body?)),
                Err(_) => Err(self.late(phase, arrival, share)),
            }
        };
        // The connection lives as long as its one request.
        tokio::pin!(answer, connection);
        let mut open = true;
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                _ = &mut connection, if open => open = false,
            }
        }
    }

    /// Reads a body. Piece by piece into one buffer: it may come in pieces of a byte each, which would cost more than they hold.
    async fn receive(&self, phase: Phase, mut body: Incoming, share: &mut Share) -> Result<Vec<u8>, Error> {
        let limit = self.options.max_message;
        let too_large = |size| Error::TooLarge {
            address: self.url.clone(),
            size,
            limit,
        };
        let announced = body.size_hint().lower();
        if announced > limit {
            return Err(too_large(announced));
        }
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Error::Lost {
                address: self.url.clone(),
                phase,
                reason: error.to_string(),
            })?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            let size = bytes.len() + piece.len();
            if size as u64 > limit {
                return Err(too_large(size as u64));
            }
            let covered = share.cover(size).await;
            covered.map_err(|NoneLeft| Error::Busy {
                address: self.url.clone(),
            })?;
            grow(&mut bytes, piece.len());
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// The error where the time for something is over.
    fn late(&self, phase: Phase, limit: Duration, share: &Share) -> Error {
        let address = self.url.clone();
        if share.waits() {
            return Error::Busy { address };
        }
        Error::TimedOut {
            address,
            phase,
            limit,
        }
    }

    fn protocol(&self, path: &'static str, what: String) -> Error {
        Error::Protocol {
            address: self.url.clone(),
            phase: Phase::Call(path),
            what: text::line(&what, WORDS),
        }
    }

    fn hyper(&self, phase: Phase, error: &hyper::Error) -> Error {
        let address = self.url.clone();
        if error.is_parse() {
            return Error::NotScheduler {
                address,
                saw: format!("no HTTP server is there: {error}"),
            };
        }
        Error::Lost {
            address,
            phase,
            reason: error.to_string(),
        }
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body)
}
