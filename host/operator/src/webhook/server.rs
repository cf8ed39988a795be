//! HTTPS for API servers: what a request may hold before it is read, and how long it may take.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

use super::bodies::{Bodies, Body};
use super::desk::Times;
use super::handler::{Handler, Look, text};
use super::review::Step;
use crate::server::{Answer, Seat, Service};

/// Requests hold an object twice at most, and the API server takes objects of 1.5 MiB.
const LARGEST: usize = 4 << 20;

/// Bytes of all requests that are being read.
const ROOM: usize = 64 << 20;

/// What each has beside that: one about a resource of the usual size never waits for others.
const FREE: usize = 64 << 10;

/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(5);

/// What the API server waits for where it does not say: its own default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Serves requests.
pub struct Webhook {
    handler: Arc<Handler>,
    bodies: Bodies,
}

impl Webhook {
    /// Serves what `handler` answers.
    #[must_use]
    pub fn new(handler: Handler) -> Self {
        Self {
            handler: Arc::new(handler),
            bodies: Bodies::new(ROOM, FREE),
        }
    }

    /// Reads a request and looks at it, or says why not.
    async fn look(
        &self,
        step: Step,
        incoming: Incoming,
        body: &Body,
        seat: &Seat,
        body_end: Instant,
        times: Times,
    ) -> Result<(Bytes, Look), Answer> {
        let bytes = match read(incoming, body, body_end).await {
            Ok(bytes) => bytes,
            Err(Unread::NoRoom) => return Err(self.handler.busy(step)),
            Err(Unread::Wrong(code, sentence)) => return Err(text(code, sentence)),
        };
        seat.answers();
        let look = self.handler.look(step, &bytes, times).await?;
        Ok((bytes, look))
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
        let body = self.bodies.begin(seat.address());
        let looked = tokio::select! {
            looked = self.look(step, request.into_body(), &body, seat, body_end, times) => looked,
            () = body.lost() => Err(self.handler.busy(step)),
        };
        // From now on it is counted by its namespace.
        drop(body);
        match looked {
            Ok((bytes, look)) => self.handler.answer(step, bytes, look, times).await,
            Err(answer) => answer,
        }
    }
}

/// Why a request was not read.
enum Unread {
    /// Others have less.
    NoRoom,
    /// It is none.
    Wrong(StatusCode, String),
}

async fn read(mut incoming: Incoming, body: &Body, end: Instant) -> Result<Bytes, Unread> {
    let too_large = || {
        let sentence = format!("the request is larger than {LARGEST} bytes");
        Unread::Wrong(StatusCode::PAYLOAD_TOO_LARGE, sentence)
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
                let sentence = format!("the request breaks off: {error}");
                return Err(Unread::Wrong(StatusCode::BAD_REQUEST, sentence));
            }
            Err(_) => {
                let sentence = "the request came too slowly".to_owned();
                return Err(Unread::Wrong(StatusCode::REQUEST_TIMEOUT, sentence));
            }
        };
        // The rest are trailers.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > LARGEST {
            return Err(too_large());
        }
        if !body.grow(data.len()) {
            return Err(Unread::NoRoom);
        }
        bytes.extend_from_slice(&data);
    }
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
