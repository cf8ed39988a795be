//! Calls over a scheduler's HTTP server, which can replace the comm port in part.
//!
//! `/json/*` is enabled by default and provides facts. `/api/v1/*` is enabled
//! only if the scheduler's configured routes include
//! `distributed.http.scheduler.api`.
//!
//! The workers in `/json/identity.json` are not reliable: newer releases respond
//! with an error while tasks run. The comm port has no such gaps.

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
use crate::budget::{BudgetExhausted, Share};
use crate::connection::tcp;
use crate::decoding::ReplyBytes;
use crate::error::{Error, MAX_REMOTE_TEXT, Phase};
use crate::facts::{
    Facts, FactsRequest, Identity, IdentityReply, RetireReply, RetiredWorker, retired, saturate,
};
use crate::message::{Number, Text};
use crate::options::Options;
use crate::wire::grow;

/// Default port of a scheduler's HTTP server.
const DEFAULT_PORT: u16 = 8787;

const IDENTITY: &str = "/json/identity.json";

/// A handle for a scheduler's HTTP server. Each call opens a connection.
#[derive(Debug)]
pub struct HttpScheduler {
    url: String,
    host: String,
    port: u16,
    prefix: String,
    options: Options,
}

impl HttpScheduler {
    /// Returns a handle for the HTTP server at this URL, which may have a path in front of `/json` and `/api`.
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

    /// Returns facts, as [`Scheduler::facts`](crate::Scheduler::facts) does, as far
    /// as HTTP provides them: the number of desired workers is always for the
    /// scheduler's own target duration, and the idle time is `None` if the API is
    /// disabled.
    ///
    /// # Errors
    ///
    /// Returns an error if a page can't be fetched or decoded.
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
        // Last, so that no list of workers occupies memory while other responses are awaited.
        let workers = self.identity().await?.workers;
        Ok(Facts {
            workers,
            desired_workers,
            idle_since_ms,
        })
    }

    /// Returns the identity of the scheduler and all its workers: `/json/identity.json`.
    ///
    /// # Errors
    ///
    /// Returns an error if the page can't be fetched or decoded, or if the server is not a scheduler.
    pub async fn identity(&self) -> Result<Identity, Error> {
        let reply: IdentityReply = self.get(IDENTITY).await?;
        reply.into_identity().map_err(|kind| Error::NotScheduler {
            address: self.url.clone(),
            saw: format!("it calls itself {kind}"),
        })
    }

    /// Returns the number of workers that the scheduler could use: `/api/v1/adaptive_target`. `None` if the value is not a count.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails, [`Error::Unsupported`] if the API is disabled.
    pub async fn adaptive_target(&self) -> Result<Option<u32>, Error> {
        /// One pre-release uses another name for the field.
        #[derive(Deserialize)]
        struct Target {
            #[serde(alias = "desired_workers")]
            workers: Number,
        }
        let target: Target = self.get("/api/v1/adaptive_target").await?;
        Ok(target.workers.count().map(saturate))
    }

    /// Returns the time since which the scheduler has been idle:
    /// `/api/v1/check_idle`, with the same meaning as
    /// [`Scheduler::check_idle`](crate::Scheduler::check_idle). Releases before
    /// 2023.4 do not have it.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails, [`Error::Unsupported`] if the API is
    /// disabled or lacks the call.
    pub async fn check_idle(&self) -> Result<Option<i64>, Error> {
        #[derive(Deserialize)]
        struct Idle {
            idle_since: Number,
        }
        let idle: Idle = self.get("/api/v1/check_idle").await?;
        Ok(idle.idle_since.milliseconds())
    }

    /// Returns the address and name of all workers: `/api/v1/get_workers`.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails, [`Error::Unsupported`] if the API is disabled.
    pub async fn get_workers(&self) -> Result<Vec<RetiredWorker>, Error> {
        #[derive(Deserialize)]
        struct Workers {
            workers: Items<NamedWorker>,
        }
        #[derive(Deserialize)]
        struct NamedWorker {
            name: Text,
            address: Text,
        }
        let workers: Workers = self.get("/api/v1/get_workers").await?;
        let named = |NamedWorker { name, address }| {
            let address = address.0?;
            Some(RetiredWorker {
                name: name.0.unwrap_or_else(|| String::clone(&address)),
                address,
            })
        };
        Ok(workers.workers.0.into_iter().filter_map(named).collect())
    }

    /// Retires the workers at these addresses: `/api/v1/retire_workers`. The
    /// scheduler removes them, see [`AfterRetirement::Forget`](crate::AfterRetirement::Forget).
    /// [`Scheduler::retire_workers`](crate::Scheduler::retire_workers) describes the
    /// result.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails, [`Error::Unsupported`] if the API is
    /// disabled. HTTP status 500 can also mean that the workers were retired, but
    /// that the scheduler failed to write the response as JSON.
    pub async fn retire(&self, addresses: &[String]) -> Result<Vec<RetiredWorker>, Error> {
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
            Err(_) => return Err(self.timeout_error(Phase::Call(path), limit, &share)),
        };
        let body = ReplyBytes::new(bytes, share);
        match status {
            StatusCode::OK => {
                let decoded = body.decode(self.options.decoders.as_ref(), decode_json).await;
                decoded.map_err(|error| self.protocol(path, error))
            }
            StatusCode::NOT_FOUND if path.starts_with("/api/") => Err(Error::Unsupported {
                address: self.url.clone(),
                call: path,
                hint: "distributed.http.scheduler.api is not among its HTTP routes, or its release is older",
            }),
            // The keys of some metrics are tuples, which JSON does not have.
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
                    text: text::line(&String::from_utf8_lossy(beginning), MAX_REMOTE_TEXT),
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
            Err(_) => return Err(self.timeout_error(Phase::Connect, self.options.connect_timeout, share)),
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
            // A response that has begun to arrive uses a part of the budget, so it has less time than the whole call.
            let arrival = self.options.call_timeout;
            let received = timeout(arrival, self.receive(phase, answer.into_body(), share)).await;
            match received {
                Ok(body) => Ok((status, body?)),
                Err(_) => Err(self.timeout_error(phase, arrival, share)),
            }
        };
        // The connection is used for one request only.
        tokio::pin!(answer, connection);
        let mut open = true;
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                _ = &mut connection, if open => open = false,
            }
        }
    }

    /// Reads a body, data frame by data frame, into one buffer. A list of frames would cost more, because a frame may have only
    /// one byte.
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
            covered.map_err(|BudgetExhausted| Error::Busy {
                address: self.url.clone(),
            })?;
            grow(&mut bytes, piece.len());
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    fn timeout_error(&self, phase: Phase, limit: Duration, share: &Share) -> Error {
        Error::of_timeout(self.url.clone(), phase, limit, share)
    }

    fn protocol(&self, path: &'static str, what: String) -> Error {
        Error::Protocol {
            address: self.url.clone(),
            phase: Phase::Call(path),
            what: text::line(&what, MAX_REMOTE_TEXT),
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

fn decode_json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body)
}
