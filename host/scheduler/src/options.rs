//! How patient and how generous a client is, and what it proves itself with.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::budget::Budget;
use crate::tls::TlsConfig;

/// How a client behaves. All limits are there to protect the caller: none of
/// them can be switched off.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most time for making a connection, from looking up the name to the
    /// end of Dask's handshake; 5 s by default.
    pub connect_timeout: Duration,
    /// The most time from sending a call to the end of its answer; 10 s by default.
    pub call_timeout: Duration,
    /// The most time for retiring workers, which moves their data; 60 s by
    /// default. When it is over, the scheduler goes on all the same.
    pub retire_timeout: Duration,
    /// The most bytes that a message may have; 96 MiB by default. An idle worker
    /// in a pod takes some 850 bytes in an answer, one with work up to twice
    /// that: so many bytes are what 60,000 to 100,000 workers take.
    pub max_message: u64,
    /// The bytes that all messages that are read at the same time may have
    /// together; 192 MiB by default. Clones of the options share it. One owner
    /// has half of it at the most, so less than twice the largest message lets
    /// the largest ones wait in vain.
    pub budget: Budget,
    /// The runtime on whose blocking threads large answers are decoded. By
    /// default that is the one that the client is used on.
    pub decoders: Option<Handle>,
    /// What `tls://` addresses need.
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
