//! Client for Dask schedulers that does not need Python.
//!
//! The client calls a scheduler over its comm port, in Dask's own protocol, which
//! every scheduler offers, or over its HTTP server. It hides the differences
//! between releases of `distributed`: [`Facts`] have the same form for all of
//! them. It is tested with 2022.8.1 and newer releases.
//!
//! ```no_run
//! use dask_operator_scheduler::{Client, FactsRequest, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Options::default());
//! let mut scheduler = client.scheduler("tcp://10.0.0.7:8786".parse()?);
//!
//! let facts = scheduler.facts(&FactsRequest::default()).await?;
//! println!("{} workers, {:?} wanted", facts.workers.len(), facts.desired_workers);
//!
//! // Retire the first worker. The result is empty if its data could not be moved to other workers.
//! let first: Vec<String> = facts.workers.iter().map(|worker| worker.address.clone()).take(1).collect();
//! let retired = scheduler.retire(&first).await?;
//! assert!(retired.len() <= 1);
//! # Ok(())
//! # }
//! ```
//!
//! [`Scheduler`] and [`HttpScheduler`] do I/O. Addresses, messages, facts and limits are pure.
//!
//! # Guarantees
//!
//! - **Everything has a deadline.** Connecting, each handshake and each call end
//!   within the times in [`Options`], however slowly the peer sends.
//! - **The peer is not trusted.** No input makes the decoder panic. Memory grows
//!   with the bytes that arrive, not with the lengths that a message announces,
//!   up to [`Options::max_message`] for one message and [`Options::budget`] for
//!   all schedulers together. One owner of schedulers cannot use the whole budget
//!   ([`Budget::of`]). A reply that lists more than [`MAX_WORKERS`] workers fails
//!   as soon as the limit is passed. Large replies are decoded on blocking
//!   threads, at most [`DECODERS`] at a time.
//! - **A handle is used by one task at a time** and costs one connection. The
//!   connection stays open between calls and is replaced if it was closed in the
//!   meantime.
//! - **Error messages are complete sentences** that name the scheduler.
//!   [`Error::kind`] is a short word for a metric label.
//!
//! # Compression
//!
//! Dask compresses only Python objects in frames of their own, and only if both
//! sides name the same algorithm in the handshake. This client names none, and
//! never decodes these frames.
//!
//! # TLS
//!
//! ```
//! use dask_operator_scheduler::{Options, TlsConfig};
//!
//! # fn example() -> Result<(), dask_operator_scheduler::TlsError> {
//! // From DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY, if they are set.
//! let options = Options { tls: TlsConfig::from_env()?, ..Options::default() };
//! # Ok(())
//! # }
//! ```
//!
//! As in Dask, the certificate must be signed by the configured authority, but
//! host names are not compared. Use a separate authority for each installation.
//! Certificates must be X.509 version 3: `openssl x509 -req` may create version 1
//! certificates unless extensions are given.

mod address;
mod bounded;
mod budget;
mod connection;
mod decoding;
mod error;
mod facts;
#[cfg(test)]
mod fuzz;
mod http;
mod message;
mod options;
mod scheduler;
mod tls;
pub mod wire;

pub use address::{Address, DEFAULT_PORT, InvalidAddress, Scheme};
pub use bounded::MAX_WORKERS;
pub use budget::Budget;
pub use decoding::DECODERS;
pub use error::{Error, ErrorKind, Phase};
pub use facts::{Facts, FactsRequest, Identity, RetiredWorker, Worker};
pub use http::HttpScheduler;
pub use options::Options;
pub use scheduler::{AfterRetirement, Attribute, Client, Scheduler, Workers};
pub use tls::{CA_VARIABLE, CERTIFICATE_VARIABLE, KEY_VARIABLE, TlsConfig, TlsError};
