//! HTTPS service for API servers, with limits for the size and the time of requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

use super::body_memory::{BodyMemory, BodyReservation};
use super::executor::TimeLimits;
use super::handler::{Classification, Handler, text};
use super::input::Step;
use crate::server::{ConnectionSlot, HttpResponse, Service};

/// Maximum bytes of a request. A request contains at most two versions of an object, and the API server accepts objects of
/// up to 1.5 MiB.
const LARGEST: usize = 4 << 20;

/// Maximum bytes of all requests that are being read.
const ROOM: usize = 64 << 20;

/// Bytes of each request that are not counted, so that a request for a resource of the usual size is never refused
/// because of others.
const FREE: usize = 64 << 10;

/// Timeout for reading the body of a request.
const BODY: Duration = Duration::from_secs(5);

/// Timeout of the API server if the request names none: its own default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP service of the webhook.
pub(crate) struct Webhook {
    handler: Arc<Handler>,
    bodies: BodyMemory,
}

impl Webhook {
    /// Creates a service that answers with `handler`.
    #[must_use]
    pub(crate) fn new(handler: Handler) -> Self {
        Self {
            handler: Arc::new(handler),
            bodies: BodyMemory::new(ROOM, FREE),
        }
    }

    /// Reads a request and classifies it. Returns the response if the request can't be read or needs no decision.
    async fn read_and_classify(
        &self,
        step: Step,
        incoming: Incoming,
        body: &BodyReservation,
        slot: &ConnectionSlot,
        body_end: Instant,
        limits: TimeLimits,
    ) -> Result<(Bytes, Classification), HttpResponse> {
        let bytes = match read(incoming, body, body_end).await {
            Ok(bytes) => bytes,
            Err(ReadError::Busy) => return Err(self.handler.busy(step)),
            Err(ReadError::Rejected(code, message)) => return Err(text(code, message)),
        };
        slot.set_answering();
        let classification = self.handler.classify(step, &bytes, limits).await?;
        Ok((bytes, classification))
    }
}

impl Service for Webhook {
    async fn respond(&self, request: Request<Incoming>, slot: &ConnectionSlot) -> HttpResponse {
        let Some(step) = Step::of_path(request.uri().path()) else {
            return text(
                StatusCode::NOT_FOUND,
                "not found: the endpoints are /mutate and /validate".to_owned(),
            );
        };
        if request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only POST is allowed".to_owned());
        }
        let now = Instant::now();
        let limits = limits(now, request.uri().query());
        let body_end = limits.end.min(now + BODY);
        let body = self.bodies.begin(slot.address());
        let classified = tokio::select! {
            classified = self.read_and_classify(step, request.into_body(), &body, slot, body_end, limits) => classified,
            () = body.evicted() => Err(self.handler.busy(step)),
        };
        // From now on, the handler counts the request by its namespace.
        drop(body);
        match classified {
            Ok((bytes, classification)) => self.handler.respond(step, bytes, classification, limits).await,
            Err(response) => response,
        }
    }
}

/// Error of reading a request.
enum ReadError {
    /// Too many bytes are being read.
    Busy,
    /// The request is too large, too slow or incomplete.
    Rejected(StatusCode, String),
}

/// Reads the body of a request until `end`.
async fn read(mut incoming: Incoming, body: &BodyReservation, end: Instant) -> Result<Bytes, ReadError> {
    let too_large = || {
        let message = format!("the request is larger than {LARGEST} bytes");
        ReadError::Rejected(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    if incoming.size_hint().lower() > LARGEST as u64 {
        return Err(too_large());
    }
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        let frame = match timeout_at(end, incoming.frame()).await {
            Ok(None) => return Ok(bytes.into()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                let message = format!("failed to read the request: {error}");
                return Err(ReadError::Rejected(StatusCode::BAD_REQUEST, message));
            }
            Err(_) => {
                let message = "the request was sent too slowly".to_owned();
                return Err(ReadError::Rejected(StatusCode::REQUEST_TIMEOUT, message));
            }
        };
        // Other frames are trailers.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > LARGEST {
            return Err(too_large());
        }
        if !body.grow(data.len()) {
            return Err(ReadError::Busy);
        }
        bytes.extend_from_slice(&data);
    }
}

/// Returns the time limits of a request that arrived now, with this query.
fn limits(now: Instant, query: Option<&str>) -> TimeLimits {
    let time = answer_timeout(query);
    TimeLimits {
        // The last tenth is reserved for the response, so that a request that waits for a dry run is still answered in time.
        end: now + time * 9 / 10,
        deadline: now + time,
    }
}

/// Returns four fifths of the API server's timeout, which is in the query, such as `timeout=10s`.
fn answer_timeout(query: Option<&str>) -> Duration {
    let seconds = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == "timeout")
        .find_map(|(_, timeout)| timeout.strip_suffix('s')?.parse().ok());
    let timeout = seconds.map_or(TIMEOUT, |seconds: u64| Duration::from_secs(seconds.clamp(1, 30)));
    timeout * 4 / 5
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, 8000)]
    #[case(Some("timeout=5s"), 4000)]
    #[case(Some("a=b&timeout=30s"), 24_000)]
    #[case(Some("timeout=1h"), 8000)]
    #[case(Some("timeout=9999s"), 24_000)]
    #[case(Some("timeout=0s"), 800)]
    #[case(Some("timeout=%35s"), 4000)]
    #[case(Some("timeout=s&timeout&=&timeout=5s"), 4000)]
    #[case(Some("mytimeout=5s&timeout=-5s"), 8000)]
    #[case(Some("timeout=99999999999999999999s"), 8000)]
    #[case(Some(""), 8000)]
    fn the_timeout_is_derived_from_the_query(#[case] query: Option<&str>, #[case] milliseconds: u64) {
        assert_eq!(answer_timeout(query), Duration::from_millis(milliseconds));
    }
}
