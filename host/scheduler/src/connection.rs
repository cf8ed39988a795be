//! A connection to a scheduler: connecting, the handshake, and calls.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use dask_operator_core::text;
use rustls::pki_types::{DnsName, ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::address::{Address, Scheme};
use crate::budget::Budget;
use crate::decoding::ReplyBytes;
use crate::error::{Error, MAX_REMOTE_TEXT, Phase};
use crate::message::{self, Handshake, PeerHandshake};
use crate::options::Options;
use crate::tls::TlsConfig;
use crate::wire::{self, WireError};

/// Maximum number of bytes of the scheduler's handshake message. Real ones have less than 100.
const MAX_HANDSHAKE: u64 = 4 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Sync {}
impl<S: AsyncRead + AsyncWrite + Send + Sync> Stream for S {}

/// A connection with a completed handshake. It must not be used again after an
/// error, or after the future of a call was dropped.
pub(crate) struct Connection {
    address: String,
    stream: BufReader<Pin<Box<dyn Stream>>>,
    max_message: u64,
    budget: Budget,
    /// Maximum time from the first bytes of a reply to its last.
    arrival: Duration,
}

/// A failed call.
pub(crate) struct CallError {
    pub(crate) error: Error,
    /// True if the connection ended before any byte of the reply arrived.
    /// After an idle time, a new connection may succeed.
    pub(crate) unanswered: bool,
}

impl Connection {
    /// Connects, including TLS and Dask's handshake, within [`Options::connect_timeout`].
    pub(crate) async fn open(address: &Address, options: &Options) -> Result<Self, Error> {
        let mut phase = Phase::Connect;
        let opening = Self::open_in_phases(address, options, &mut phase);
        match timeout(options.connect_timeout, opening).await {
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut {
                address: address.to_string(),
                phase,
                limit: options.connect_timeout,
            }),
        }
    }

    async fn open_in_phases(address: &Address, options: &Options, phase: &mut Phase) -> Result<Self, Error> {
        let stream = tcp(address.to_string(), address.host(), address.port()).await?;
        let stream: Pin<Box<dyn Stream>> = match address.scheme() {
            Scheme::Tcp => Box::pin(stream),
            Scheme::Tls => {
                *phase = Phase::TlsHandshake;
                tls(address, stream, options.tls.as_ref()).await?
            }
        };
        let mut connection = Self {
            address: address.to_string(),
            stream: BufReader::new(stream),
            max_message: options.max_message,
            budget: options.budget.clone(),
            arrival: options.call_timeout,
        };
        *phase = Phase::Handshake;
        connection.handshake().await?;
        Ok(connection)
    }

    /// Performs Dask's handshake. The client sends first, which makes a server
    /// that is not Dask, or that requires TLS, reveal itself immediately.
    async fn handshake(&mut self) -> Result<(), Error> {
        let phase = Phase::Handshake;
        let handshake = message::encode(&Handshake::OURS).map_err(|error| self.protocol(phase, error))?;
        // If writing fails, the bytes that can be read explain the failure better.
        let written = wire::write_message(&mut self.stream, &handshake).await;
        let theirs = match (
            wire::read_message(&mut self.stream, MAX_HANDSHAKE.min(self.max_message)).await,
            written,
        ) {
            (Ok(theirs), Ok(())) => theirs,
            (Ok(_), Err(error)) => return Err(self.error(phase, error.into())),
            (Err(error), _) => return Err(self.first_error(error)),
        };
        match message::decode::<PeerHandshake>(&theirs) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::NotScheduler {
                address: self.address.clone(),
                saw: format!("it does not greet as Dask does: {error}"),
            }),
        }
    }

    /// Sends a request and returns the first frame of the reply.
    pub(crate) async fn call(
        &mut self,
        name: &'static str,
        request: &[u8],
        limit: Duration,
    ) -> Result<ReplyBytes, CallError> {
        let phase = Phase::Call(name);
        let mut share = self.budget.share();
        // A reply that has begun to arrive uses a part of the budget, so it has less time than the whole call.
        let exchange = async {
            wire::write_message(&mut self.stream, request).await?;
            let head = wire::read_head(&mut self.stream).await?;
            let rest = wire::read_rest(&mut self.stream, head, self.max_message, &mut share);
            Ok::<_, WireError>(timeout(self.arrival, rest).await)
        };
        let (limit, outcome) = match timeout(limit, exchange).await {
            Ok(Ok(arrived)) => (self.arrival, arrived),
            Ok(Err(error)) => (limit, Ok(Err(error))),
            Err(late) => (limit, Err(late)),
        };
        match outcome {
            Ok(Ok(frame)) => Ok(ReplyBytes::new(frame, share)),
            Ok(Err(error)) => {
                let unanswered = matches!(error, WireError::Closed | WireError::Io(_));
                Err(CallError {
                    error: self.error(phase, error),
                    unanswered,
                })
            }
            Err(_) => Err(CallError {
                error: Error::of_timeout(self.address.clone(), phase, limit, &share),
                unanswered: false,
            }),
        }
    }

    fn protocol(&self, phase: Phase, what: impl ToString) -> Error {
        Error::Protocol {
            address: self.address.clone(),
            phase,
            what: text::line(&what.to_string(), MAX_REMOTE_TEXT),
        }
    }

    fn error(&self, phase: Phase, error: WireError) -> Error {
        let address = self.address.clone();
        match error {
            WireError::TooLarge { size, limit } => Error::TooLarge { address, size, limit },
            WireError::NoneLeft => Error::Busy { address },
            WireError::Garbage { .. } => self.protocol(phase, error),
            WireError::Io(error) => io_error(address, phase, error),
            WireError::Closed | WireError::Truncated { .. } => Error::Lost {
                address,
                phase,
                reason: error.to_string(),
            },
        }
    }

    /// Returns the error for a failure to read the peer's first message, from which the kind of server can often be told.
    fn first_error(&self, error: WireError) -> Error {
        let address = self.address.clone();
        let head = match &error {
            WireError::Truncated { head } => head.clone(),
            WireError::Garbage { head, .. } => head.to_vec(),
            WireError::TooLarge { size, .. } => size.to_le_bytes().to_vec(),
            WireError::Closed | WireError::Io(_) | WireError::NoneLeft => {
                return self.error(Phase::Handshake, error);
            }
        };
        // Start of a TLS record: alert or handshake, version 3.x.
        if matches!(head.as_slice(), [0x15 | 0x16, 0x03, ..]) {
            return Error::TlsRequired { address };
        }
        let saw = match head.as_slice() {
            [b'H', b'T', b'T', b'P', ..] => {
                "an HTTP server is there; the scheduler's comm port is another one, 8786 by default"
                    .to_owned()
            }
            _ if matches!(error, WireError::TooLarge { .. }) => {
                format!(
                    "its greeting begins with the bytes {head:02x?}, as if it were {}",
                    describe(&error)
                )
            }
            _ => error.to_string(),
        };
        Error::NotScheduler { address, saw }
    }
}

fn describe(error: &WireError) -> String {
    match error {
        WireError::TooLarge { size, .. } => format!("{size} bytes long"),
        error => error.to_string(),
    }
}

/// Opens a TCP connection. `address` is used in errors only.
pub(crate) async fn tcp(address: String, host: &str, port: u16) -> Result<TcpStream, Error> {
    let stream = match TcpStream::connect((host, port)).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(Error::Refused { address });
        }
        Err(source) => return Err(Error::Unreachable { address, source }),
    };
    // Requests are small and answered immediately, so Nagle's algorithm would only add latency.
    let set = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive()));
    match set {
        Ok(()) => Ok(stream),
        Err(source) => Err(Error::Unreachable { address, source }),
    }
}

/// Keepalive settings that detect a dead host within half a minute, as Dask's own
/// do. Nothing may be sent for minutes while workers are retired.
fn keepalive() -> TcpKeepalive {
    let pause = Duration::from_secs(5);
    TcpKeepalive::new()
        .with_time(2 * pause)
        .with_interval(pause)
        .with_retries(4)
}

async fn tls(
    address: &Address,
    stream: TcpStream,
    config: Option<&TlsConfig>,
) -> Result<Pin<Box<dyn Stream>>, Error> {
    let Some(config) = config else {
        return Err(Error::TlsNotConfigured {
            address: address.to_string(),
        });
    };
    // The name is not compared with the certificate. It is only sent in the
    // TLS handshake (SNI), for proxies that route by it.
    let name = match (address.ip(), DnsName::try_from(address.host().to_owned())) {
        (Some(ip), _) => ServerName::from(ip),
        (None, Ok(name)) => ServerName::DnsName(name),
        (None, Err(_)) => ServerName::from(std::net::IpAddr::from([0, 0, 0, 0])),
    };
    match TlsConnector::from(config.client.clone())
        .connect(name, stream)
        .await
    {
        Ok(stream) => Ok(Box::pin(stream)),
        Err(error) => Err(io_error(address.to_string(), Phase::TlsHandshake, error)),
    }
}

/// Returns the error for an I/O error of a stream, which may wrap a TLS error.
fn io_error(address: String, phase: Phase, error: io::Error) -> Error {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) if phase == Phase::TlsHandshake => {
            Error::TlsNotOffered { address }
        }
        Some(rustls::Error::AlertReceived(alert)) => Error::Tls {
            address,
            reason: format!("the scheduler refuses ours with the alert {alert:?}"),
        },
        Some(rustls::Error::InvalidCertificate(reason)) => Error::Tls {
            address,
            reason: format!("the scheduler's certificate is not accepted: {reason}"),
        },
        Some(reason) => Error::Tls {
            address,
            reason: reason.to_string(),
        },
        None => Error::Lost {
            address,
            phase,
            reason: error.to_string(),
        },
    }
}
