//! HTTPS for API servers: what a request may hold before it is read, and how long it may take.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::desk::Times;
use super::handler::{Handler, text};
use super::review::Step;
use crate::server::{Answer, Seat, Service};

/// Requests hold an object twice at most, and the API server takes objects of 1.5 MiB.
const LARGEST: usize = 4 << 20;

/// Bytes of all requests together; others wait before they are read.
const ROOM: usize = 64 << 20;

/// Bytes that are counted together.
const PIECE: usize = 1 << 10;

/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(5);

/// What the API server waits for where it does not say: its own default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Serves requests.
pub struct Webhook {
    handler: Arc<Handler>,
    room: Semaphore,
}

impl Webhook {
    /// Serves what `handler` answers.
    #[must_use]
    pub fn new(handler: Handler) -> Self {
        Self {
            handler: Arc::new(handler),
            room: Semaphore::new(ROOM / PIECE),
        }
    }

    /// Waits until there is room for a request whose body has so many bytes; none where it does not say.
    async fn room(&self, bytes: Option<usize>, end: Instant) -> Option<SemaphorePermit<'_>> {
        let pieces = bytes.unwrap_or(LARGEST).div_ceil(PIECE);
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        timeout_at(end, self.room.acquire_many(pieces)).await.ok()?.ok()
    }
}

impl Service for Webhook {
    async fn answer(&self, request: Request<Incoming>, seat: &Seat) -> Answer {
        let Some(step) = Step::of_path(request.uri().path()) else {
            return text(
                StatusCode::NOT_FOUND,
                "there are /mutate and /validate".to_owned(),
            );
        };
        if request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only POST".to_owned());
        }
        let now = Instant::now();
        let times = times(now, request.uri().query());
        let body_end = times.end.min(now + BODY);
        let body = request.into_body();
        let bytes = body.size_hint().exact();
        let bytes = bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if bytes.is_some_and(|bytes| bytes > LARGEST) {
            return too_large();
        }
        // It is given back when the answer is there: until then, what was made of the bytes may be.
        let Some(_room) = self.room(bytes, body_end).await else {
            return self.handler.busy(step);
        };
        match read(body, body_end).await {
            Ok(body) => {
                seat.answers();
                self.handler.answer(step, body, times).await
            }
            Err(answer) => answer,
        }
    }
}

async fn read(body: Incoming, end: Instant) -> Result<Bytes, Answer> {
    match timeout_at(end, Limited::new(body, LARGEST).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(text(
            StatusCode::BAD_REQUEST,
            format!("the request breaks off: {error}"),
        )),
        Err(_) => Err(text(
            StatusCode::REQUEST_TIMEOUT,
            "the request came too slowly".to_owned(),
        )),
    }
}

fn too_large() -> Answer {
    text(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the request is larger than {LARGEST} bytes"),
    )
}

/// The times of a request that came now, with this query.
fn times(now: Instant, query: Option<&str>) -> Times {
    let time = patience(query);
    Times {
        // The last tenth is for the answer: who only waits for the API server must not be late because of that.
        end: now + time * 9 / 10,
        deadline: now + time,
    }
}

/// A fifth less than what the API server waits: `timeout=10s` in its query.
fn patience(query: Option<&str>) -> Duration {
    let parameters = query.unwrap_or_default().split('&');
    let seconds = parameters
        .filter_map(|parameter| {
            parameter
                .strip_prefix("timeout=")?
                .strip_suffix('s')?
                .parse()
                .ok()
        })
        .next();
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
    fn deadlines(#[case] query: Option<&str>, #[case] milliseconds: u64) {
        assert_eq!(patience(query), Duration::from_millis(milliseconds));
    }
}
