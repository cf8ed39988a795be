//! HTTP/1.1 server with or without TLS, with limits for connections and a graceful shutdown.
//!
//! Does I/O, except for [`connection_slots`], which has the connection limits. The services are
//! [`Probes`](crate::controller::probes::Probes) and the [`webhook`](crate::webhook).

pub(crate) mod connection_slots;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

pub(crate) use connection_slots::ConnectionSlot;
use connection_slots::ConnectionSlots;

/// Size of the read buffer of a connection, in bytes. The head of a request must fit into it.
const BUFFER: usize = 64 << 10;

/// Interval at which overdue connections are closed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Response of a [`Service`].
pub(crate) type HttpResponse = Response<Full<Bytes>>;

/// Handler of the requests to a server.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers a request that came over the connection `slot`.
    fn respond(
        &self,
        request: Request<Incoming>,
        slot: &ConnectionSlot,
    ) -> impl Future<Output = HttpResponse> + Send;
}

/// Returns a response with this status code, content type and body.
pub(crate) fn http_response(
    code: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> HttpResponse {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    let content_type = header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// Sender of the shutdown signal for servers.
#[derive(Debug)]
pub(crate) struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Returns a receiver of the shutdown signal.
    #[must_use]
    pub(crate) fn signal(&self) -> ShutdownSignal {
        ShutdownSignal(self.0.subscribe())
    }

    /// Shuts down all servers: they accept no more connections, and close the open ones as soon as their requests are answered.
    /// Waits for that for at most `patience`.
    pub(crate) async fn shut_down(&self, patience: Duration) {
        self.0.send_replace(true);
        if tokio::time::timeout(patience, self.0.closed()).await.is_err() {
            debug!("shut down although some requests are not answered yet");
        }
    }
}

/// Receiver of the shutdown signal. A server holds it until it has shut down.
#[derive(Debug)]
pub(crate) struct ShutdownSignal(watch::Receiver<bool>);

impl ShutdownSignal {
    /// Waits for the shutdown signal.
    async fn received(&self) {
        let mut receiver = self.0.clone();
        // An error means that the sender was dropped.
        drop(receiver.wait_for(|is_sent| *is_sent).await);
    }
}

/// Binds a listener to the address.
///
/// # Errors
///
/// Returns an error if the address can't be bound.
pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Configuration of an HTTP server.
pub(crate) struct Server<S> {
    /// Name of the server in the log.
    pub(crate) name: &'static str,
    /// Handler of the requests.
    pub(crate) service: Arc<S>,
    /// TLS configuration. `None` for plain HTTP.
    pub(crate) tls: Option<TlsAcceptor>,
    /// Maximum number of open connections.
    pub(crate) connections: usize,
    /// Receiver of the shutdown signal.
    pub(crate) shutdown: ShutdownSignal,
}

impl<S: Service> Server<S> {
    /// Serves until the shutdown signal, and then until all requests that were received before are answered.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let server = Arc::new(self);
        let mut slots = ConnectionSlots::new(server.connections);
        let open = GracefulShutdown::new();
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => match slots.take(from.ip(), Instant::now()) {
                        Some(slot) => {
                            tokio::spawn(server.clone().serve_connection(stream, slot, open.watcher()));
                        }
                        None => debug!("{}: too many connections, rejected one from {from}", server.name),
                    },
                    Err(error) => {
                        warn!("{}: {error}", server.name);
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                _ = check.tick() => slots.close_overdue(Instant::now()),
                () = server.shutdown.received() => break,
            }
        }
        drop(listener);
        open.shutdown().await;
    }

    /// Serves one connection until it ends or must be closed.
    async fn serve_connection(
        self: Arc<Self>,
        stream: TcpStream,
        slot: Arc<ConnectionSlot>,
        watcher: Watcher,
    ) {
        let _ = stream.set_nodelay(true);
        tokio::select! {
            () = self.serve_stream(stream, &slot, watcher) => {}
            () = slot.closed() => debug!("{}: closed a connection from {}", self.name, slot.address()),
        }
    }

    /// Accepts TLS if it is configured, and answers the requests.
    async fn serve_stream(&self, stream: TcpStream, slot: &Arc<ConnectionSlot>, watcher: Watcher) {
        match &self.tls {
            None => self.serve_http(stream, slot, watcher).await,
            Some(tls) => {
                let accepted = tokio::select! {
                    accepted = tls.accept(stream) => accepted,
                    () = self.shutdown.received() => return,
                };
                match accepted {
                    Ok(stream) => self.serve_http(stream, slot, watcher).await,
                    Err(error) => debug!("{}: TLS handshake failed: {error}", self.name),
                }
            }
        }
    }

    /// Answers the requests of a connection until it ends. After the shutdown signal, it ends with the current request.
    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        slot: &Arc<ConnectionSlot>,
        watcher: Watcher,
    ) {
        let service = service_fn(|request: Request<Incoming>| {
            let (service, slot) = (self.service.clone(), slot.clone());
            async move {
                slot.set_reading();
                let response = service.respond(request, &slot).await;
                slot.set_idle();
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            debug!("{}: {error}", self.name);
        }
    }
}

#[cfg(test)]
mod tests;
