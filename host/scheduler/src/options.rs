//! Timeouts, size limits and TLS credentials of a client.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::budget::Budget;
use crate::tls::TlsConfig;

/// Configuration of a client. The limits protect the caller, so none of them can
/// be disabled.
#[derive(Debug, Clone)]
pub struct Options {
    /// Maximum time to connect, from the DNS lookup to the end of Dask's
    /// handshake; 5 s by default.
    pub connect_timeout: Duration,
    /// Maximum time from sending a call to the end of its reply; 10 s by default.
    pub call_timeout: Duration,
    /// Maximum time to retire workers, which moves their data; 60 s by default.
    /// The scheduler continues to retire them after this time.
    pub retire_timeout: Duration,
    /// Maximum size of a message in bytes; 96 MiB by default. An idle worker in a
    /// pod takes about 850 bytes of a reply, and a busy one up to twice as many,
    /// so the default is enough for 60,000 to 100,000 workers.
    pub max_message: u64,
    /// Maximum bytes of all messages that are read at the same time; 192 MiB by
    /// default. Clones of the options share it. One owner can have at most half
    /// of it, so the largest messages can never be read if it is less than twice
    /// [`Options::max_message`].
    pub budget: Budget,
    /// Runtime whose blocking threads decode large replies. `None`, the default,
    /// stands for the runtime that the client is used on.
    pub decoders: Option<Handle>,
    /// Credentials for `tls://` addresses. `None` if there are none.
    pub tls: Option<TlsConfig>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            retire_timeout: Duration::from_secs(60),
            max_message: 96 << 20,
            budget: Budget::new(192 << 20),
            decoders: None,
            tls: None,
        }
    }
}
