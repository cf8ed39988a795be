//! Servers of HTTP/1.1, with or without TLS: who may connect and for how long, and how a server ends.
//!
//! * [`seats`]: the connections there may be, without I/O;
//! * [`probes`]: health and metrics. The [`webhook`](crate::webhook) has a server of its own.

pub mod probes;
pub mod seats;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

pub use seats::Seat;
use seats::Seats;

/// Bytes that a connection keeps of what it reads; the head of a request has to fit in.
const BUFFER: usize = 64 << 10;

/// How often connections are looked at that keep the server waiting.
const LOOK: Duration = Duration::from_secs(1);

/// What a request is answered.
pub type Answer = Response<Full<Bytes>>;

/// What answers the requests of a server.
pub trait Service: Send + Sync + 'static {
    /// Answers a request of this connection.
    fn answer(&self, request: Request<Incoming>, seat: &Seat) -> impl Future<Output = Answer> + Send;
}

/// Puts an answer together.
pub fn answer(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = code;
    let content_type = header::HeaderValue::from_static(content_type);
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer
}

/// Ends servers.
#[derive(Debug)]
pub struct Ending(watch::Sender<bool>);

impl Default for Ending {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Ending {
    /// What a server is given, to hear of it.
    #[must_use]
    pub fn notice(&self) -> Notice {
        Notice(self.0.subscribe())
    }

    /// Ends all servers: they take no more connections, and close those that there are once the requests in them are answered.
    /// Gives up waiting for that after some time.
    pub async fn end(&self, patience: Duration) {
        self.0.send_replace(true);
        if tokio::time::timeout(patience, self.0.closed()).await.is_err() {
            debug!("some requests are not answered yet");
        }
    }
}

/// Tells a server when to end.
#[derive(Clone, Debug)]
pub struct Notice(watch::Receiver<bool>);

impl Notice {
    async fn heard(&self) {
        let mut receiver = self.0.clone();
        // An error is that nobody is left who could say it.
        drop(receiver.wait_for(|ends| *ends).await);
    }
}

/// Binds the address.
///
/// # Errors
///
/// When it can't be had.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// A server.
pub struct Server<S> {
    /// What it is called in the log.
    pub name: &'static str,
    /// What answers.
    pub service: Arc<S>,
    /// How TLS is spoken; none where it is not.
    pub tls: Option<TlsAcceptor>,
    /// Connections that there may be at once.
    pub connections: usize,
    /// Says when it ends.
    pub ending: Notice,
}

impl<S: Service> Server<S> {
    /// Serves until the server is told to end, and all that came before is answered.
    pub async fn serve(self, listener: TcpListener) {
        let server = Arc::new(self);
        let mut seats = Seats::new(server.connections);
        let mut connections = JoinSet::new();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => match seats.take(from.ip(), Instant::now()) {
                        Some(seat) => {
                            connections.spawn(server.clone().connection(stream, seat));
                        }
                        None => debug!("{}: too many connections, {from} gets none", server.name),
                    },
                    Err(error) => {
                        warn!("{}: {error}", server.name);
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                _ = look.tick() => seats.close_overdue(Instant::now()),
                () = server.ending.heard() => break,
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, seat: Arc<Seat>) {
        let _ = stream.set_nodelay(true);
        tokio::select! {
            () = self.talk(stream, &seat) => {}
            () = seat.closed() => debug!("{}: closes a connection from {}", self.name, seat.address()),
        }
    }

    async fn talk(&self, stream: TcpStream, seat: &Arc<Seat>) {
        match &self.tls {
            None => self.answer(stream, seat).await,
            Some(tls) => {
                let accepted = tokio::select! {
                    accepted = tls.accept(stream) => accepted,
                    () = self.ending.heard() => return,
                };
                match accepted {
                    Ok(stream) => self.answer(stream, seat).await,
                    Err(error) => debug!("{}: handshake: {error}", self.name),
                }
            }
        }
    }

    async fn answer(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin, seat: &Arc<Seat>) {
        let service = service_fn(|request: Request<Incoming>| {
            let (service, seat) = (self.service.clone(), seat.clone());
            async move {
                seat.reads();
                let answer = service.answer(request, &seat).await;
                seat.waits();
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.ending.heard() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!("{}: {error}", self.name);
        }
    }
}

#[cfg(test)]
mod tests;
