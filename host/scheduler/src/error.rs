//! Errors of the client, with messages for users.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::budget::Share;

/// Maximum number of bytes of text from the scheduler in an error.
pub(crate) const MAX_REMOTE_TEXT: usize = 500;

/// A failed call of a scheduler.
///
/// Each variant names the scheduler by its address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No process listens on the port.
    #[error("{address} refuses connections: no scheduler listens there (yet, or any more)")]
    Refused {
        /// The scheduler's address.
        address: String,
    },
    /// There is no route to the host, or its name does not resolve.
    #[error("{address} can't be reached: {source}")]
    Unreachable {
        /// The scheduler's address.
        address: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The time limit of a step passed.
    #[error("{address} did not finish {phase} within {limit:?}")]
    TimedOut {
        /// The scheduler's address.
        address: String,
        /// The step that did not finish.
        phase: Phase,
        /// The time limit.
        limit: Duration,
    },
    /// No memory was left in the budget because of replies of other schedulers. This scheduler did not cause the error.
    #[error(
        "no memory is left for the reply of {address}: replies of other schedulers, in its namespace and elsewhere, use it; the \
         call is repeated"
    )]
    Busy {
        /// The scheduler's address.
        address: String,
    },
    /// The connection ended before the reply was complete.
    #[error("{address} ended the connection during {phase}: {reason}")]
    Lost {
        /// The scheduler's address.
        address: String,
        /// The step that was interrupted.
        phase: Phase,
        /// The reason why the connection ended.
        reason: String,
    },
    /// Another kind of server listens on the port.
    #[error("{address} is not a Dask scheduler: {saw}")]
    NotScheduler {
        /// The scheduler's address.
        address: String,
        /// A description of what the server sent.
        saw: String,
    },
    /// The scheduler accepts TLS connections only.
    #[error(
        "{address} wants TLS: write tls:// instead of tcp://, and give a certificate that its authority signed"
    )]
    TlsRequired {
        /// The scheduler's address.
        address: String,
    },
    /// The address has the scheme `tls://`, but the scheduler accepts plain TCP only.
    #[error("{address} does not offer TLS: write tcp:// instead of tls://, or set up TLS on the scheduler")]
    TlsNotOffered {
        /// The scheduler's address.
        address: String,
    },
    /// The address has the scheme `tls://`, but [`Options::tls`](crate::Options::tls) is `None`.
    #[error(
        "{address} needs TLS, but no certificate is configured: give the authority's certificate, a certificate and its key"
    )]
    TlsNotConfigured {
        /// The scheduler's address.
        address: String,
    },
    /// One side does not accept the other's certificate, or there is no common cipher suite.
    #[error("no TLS connection with {address}: {reason}")]
    Tls {
        /// The scheduler's address.
        address: String,
        /// The error of the TLS library.
        reason: String,
    },
    /// A message is larger than the limit.
    #[error(
        "{address} sends a message of {size} bytes; the limit is {limit}: start fewer workers in each pod, or divide the work \
         among several clusters"
    )]
    TooLarge {
        /// The scheduler's address.
        address: String,
        /// The announced size of the message, in bytes.
        size: u64,
        /// The limit in bytes: [`Options::max_message`](crate::Options::max_message).
        limit: u64,
    },
    /// The reply does not follow Dask's protocol.
    #[error("{address} sends what is not Dask's protocol, during {phase}: {what}")]
    Protocol {
        /// The scheduler's address.
        address: String,
        /// The step in which the reply arrived.
        phase: Phase,
        /// A description of the violation.
        what: String,
    },
    /// The call raised an exception in the scheduler.
    #[error("{address} answers {call} with an exception: {text}")]
    Exception {
        /// The scheduler's address.
        address: String,
        /// The name of the call.
        call: &'static str,
        /// The text of the Python exception.
        text: String,
    },
    /// The scheduler does not have the call.
    #[error("{address} does not know {call}: {hint}")]
    Unsupported {
        /// The scheduler's address.
        address: String,
        /// The name of the call.
        call: &'static str,
        /// A hint at the reason why the call is missing.
        hint: &'static str,
    },
    /// The HTTP server returned an error status.
    #[error("{address} answers {call} with HTTP status {status}: {text}")]
    Http {
        /// The scheduler's URL.
        address: String,
        /// The path of the call.
        call: &'static str,
        /// The HTTP status code.
        status: u16,
        /// The beginning of the response body.
        text: String,
    },
}

impl Error {
    /// Returns the error for a deadline that passed: [`Error::Busy`] if the call was waiting for the budget.
    pub(crate) fn of_timeout(address: String, phase: Phase, limit: Duration, share: &Share) -> Self {
        if share.is_waiting() {
            return Self::Busy { address };
        }
        Self::TimedOut {
            address,
            phase,
            limit,
        }
    }

    /// Returns the kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::TimedOut { .. } => ErrorKind::Timeout,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Lost { .. } => ErrorKind::Lost,
            Self::NotScheduler { .. } => ErrorKind::NotScheduler,
            Self::TlsRequired { .. }
            | Self::TlsNotOffered { .. }
            | Self::TlsNotConfigured { .. }
            | Self::Tls { .. } => ErrorKind::Tls,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Protocol { .. } => ErrorKind::Protocol,
            Self::Exception { .. } => ErrorKind::Exception,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Http { .. } => ErrorKind::Http,
        }
    }

    /// Returns whether the scheduler requires TLS, but the client has no certificate.
    pub fn needs_certificate(&self) -> bool {
        matches!(self, Self::TlsNotConfigured { .. } | Self::TlsRequired { .. })
    }
}

dask_operator_core::reasons! {
    /// The kind of an [`Error`]. It displays as a short word, for a metric label.
    #[derive(Hash)]
    #[non_exhaustive]
    pub enum ErrorKind {
        /// No process listens on the port.
        Refused => "refused",
        /// There is no route to the host, or its name does not resolve.
        Unreachable => "unreachable",
        /// The time limit of a step passed.
        Timeout => "timeout",
        /// No memory was left for the reply, because of replies of other schedulers.
        Busy => "busy",
        /// The connection ended before the reply was complete.
        Lost => "lost",
        /// Another kind of server listens on the port.
        NotScheduler => "not-a-scheduler",
        /// There is no TLS connection: one side does not offer TLS, lacks a certificate or does not accept the other's.
        Tls => "tls",
        /// A message is larger than the limit.
        TooLarge => "too-large",
        /// The reply does not follow Dask's protocol.
        Protocol => "protocol",
        /// The call raised an exception in the scheduler.
        Exception => "exception",
        /// The scheduler does not have the call.
        Unsupported => "unsupported",
        /// The HTTP server returned an error status.
        Http => "http",
    }
}

/// A step of the communication with a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Opening the TCP connection, including the DNS lookup.
    Connect,
    /// The TLS handshake.
    TlsHandshake,
    /// Dask's handshake.
    Handshake,
    /// A call, with its name.
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The words are the values of a metric label, on which users may have alerts.
    #[test]
    fn the_words_of_kinds_are_stable_and_unique() {
        let words: Vec<_> = ErrorKind::all().into_iter().map(ErrorKind::as_str).collect();
        let expected = [
            "refused",
            "unreachable",
            "timeout",
            "busy",
            "lost",
            "not-a-scheduler",
            "tls",
            "too-large",
            "protocol",
            "exception",
            "unsupported",
            "http",
        ];
        assert_eq!(words, expected);
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
    }

    #[test]
    fn only_missing_certificates_need_one() {
        let address = || "tls://10.0.0.7:8786".to_owned();
        let errors = [
            Error::TlsRequired { address: address() },
            Error::TlsNotConfigured { address: address() },
            Error::TlsNotOffered { address: address() },
            Error::Tls {
                address: address(),
                reason: "no".to_owned(),
            },
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Tls));
        let needs = errors.map(|error| error.needs_certificate());
        assert_eq!(needs, [true, true, false, false]);
    }
}
