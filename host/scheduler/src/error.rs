//! What can go wrong, in sentences for people.

use std::fmt;
use std::io;
use std::time::Duration;

/// How many bytes of the other side's words an error has.
pub(crate) const WORDS: usize = 500;

/// Why a scheduler gave no answer, or none that can be used.
///
/// Each variant names the scheduler by its address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens there.
    #[error("{address} refuses connections: no scheduler listens there (yet, or any more)")]
    Refused {
        /// Who was asked.
        address: String,
    },
    /// There is no way to that host.
    #[error("{address} can't be reached: {source}")]
    Unreachable {
        /// Who was asked.
        address: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The time for a step was over.
    #[error("{address} did not finish {phase} within {limit:?}")]
    TimedOut {
        /// Who was asked.
        address: String,
        /// What was waited for.
        phase: Phase,
        /// How long.
        limit: Duration,
    },
    /// Answers of others took the memory that there is for all. It is nothing that this scheduler did.
    #[error(
        "the answer of {address} could not be taken in: what others in its namespace and elsewhere answer takes the memory that \
         there is for it; it is asked again"
    )]
    Busy {
        /// Who was asked.
        address: String,
    },
    /// The connection ended before the answer was complete.
    #[error("{address} ended the connection during {phase}: {reason}")]
    Lost {
        /// Who was asked.
        address: String,
        /// What was going on.
        phase: Phase,
        /// How it ended.
        reason: String,
    },
    /// Something else than a Dask scheduler listens there.
    #[error("{address} is not a Dask scheduler: {saw}")]
    NotScheduler {
        /// Who was asked.
        address: String,
        /// What came from there.
        saw: String,
    },
    /// The scheduler speaks TLS only.
    #[error(
        "{address} wants TLS: write tls:// instead of tcp://, and give a certificate that its authority signed"
    )]
    TlsRequired {
        /// Who was asked.
        address: String,
    },
    /// A `tls://` address, but the scheduler speaks plain TCP.
    #[error("{address} does not offer TLS: write tcp:// instead of tls://, or set up TLS on the scheduler")]
    TlsNotOffered {
        /// Who was asked.
        address: String,
    },
    /// A `tls://` address without anything to prove who we are.
    #[error(
        "{address} needs TLS, but no certificate is configured: give the authority's certificate, a certificate and its key"
    )]
    TlsNotConfigured {
        /// Who was asked.
        address: String,
    },
    /// One side does not accept the other's certificate, or there is no common cipher.
    #[error("no TLS connection with {address}: {reason}")]
    Tls {
        /// Who was asked.
        address: String,
        /// What TLS says.
        reason: String,
    },
    /// A message is larger than we read.
    #[error(
        "{address} sends a message of {size} bytes; the limit is {limit}: start fewer workers in each pod, or divide the work \
         among several clusters"
    )]
    TooLarge {
        /// Who was asked.
        address: String,
        /// What it announced.
        size: u64,
        /// The most that is read: [`Options::max_message`](crate::Options::max_message).
        limit: u64,
    },
    /// What came is not what Dask sends.
    #[error("{address} sends what is not Dask's protocol, during {phase}: {what}")]
    Protocol {
        /// Who was asked.
        address: String,
        /// What was going on.
        phase: Phase,
        /// What is wrong, and where.
        what: String,
    },
    /// The scheduler tried and failed.
    #[error("{address} answers {call} with an exception: {text}")]
    Exception {
        /// Who was asked.
        address: String,
        /// The call.
        call: &'static str,
        /// Python's words for it.
        text: String,
    },
    /// The scheduler does not know the call.
    #[error("{address} does not know {call}: {hint}")]
    Unsupported {
        /// Who was asked.
        address: String,
        /// The call.
        call: &'static str,
        /// What would make it known.
        hint: &'static str,
    },
    /// The HTTP server answers with an error.
    #[error("{address} answers {call} with HTTP status {status}: {text}")]
    Http {
        /// Who was asked.
        address: String,
        /// The call.
        call: &'static str,
        /// The status code.
        status: u16,
        /// The beginning of the body.
        text: String,
    },
}

impl Error {
    /// A word for this kind of error, for a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timeout",
            Self::Busy { .. } => "busy",
            Self::Lost { .. } => "lost",
            Self::NotScheduler { .. } => "not-a-scheduler",
            Self::TlsRequired { .. }
            | Self::TlsNotOffered { .. }
            | Self::TlsNotConfigured { .. }
            | Self::Tls { .. } => "tls",
            Self::TooLarge { .. } => "too-large",
            Self::Protocol { .. } => "protocol",
            Self::Exception { .. } => "exception",
            Self::Unsupported { .. } => "unsupported",
            Self::Http { .. } => "http",
        }
    }
}

/// What was going on when something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Making the TCP connection, with the look-up of the name.
    Connect,
    /// The TLS handshake.
    TlsHandshake,
    /// The exchange of greetings.
    Handshake,
    /// A call, by its name.
    Call(&'static str),
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => formatter.write_str("connecting"),
            Self::TlsHandshake => formatter.write_str("the TLS handshake"),
            Self::Handshake => formatter.write_str("Dask's handshake"),
            Self::Call(name) => formatter.write_str(name),
        }
    }
}
