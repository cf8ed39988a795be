//! A client for Dask schedulers that needs no Python.
//!
//! A scheduler is asked over its comm port, in Dask's own protocol, which every
//! scheduler has, or over its HTTP server. What differs between releases of
//! `distributed` is hidden: [`Facts`] are the same from all of them. It is tested
//! with 2022.8.1 and newer ones.
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
//! // Move the data of the first one elsewhere; the answer says if that was possible.
//! let first: Vec<String> = facts.workers.iter().map(|worker| worker.address.clone()).take(1).collect();
//! let retired = scheduler.retire(&first).await?;
//! assert!(retired.len() <= 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What can be relied on
//!
//! - **Everything ends.** Connecting, each handshake and each call has a
//!   deadline ([`Options`]), however slowly the other side sends.
//! - **Nothing is believed.** The other side may be anybody: no bytes make the
//!   decoder panic, and memory grows with what arrives, up to
//!   [`Options::max_message`] and, for all schedulers together,
//!   [`Options::budget`], never with what is announced. Of that, no owner of
//!   schedulers takes all ([`Budget::of`]). An answer that tells of
//!   more than [`MAX_WORKERS`] workers is an error as soon as they are counted,
//!   and large ones are decoded on threads that may be kept busy, [`DECODERS`]
//!   at the most.
//! - **A handle is used by one task at a time** and costs one connection, which
//!   stays open between calls and is made anew when it has died meanwhile.
//! - **Errors are sentences** that name the scheduler; [`Error::kind`] is a word
//!   for a metric.
//!
//! # Compression
//!
//! Only Python objects in frames of their own are ever compressed, if both
//! sides greet with the same algorithm. This client greets with none, and never
//! reads these frames.
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
//! As in Dask, the authority's signature is checked and host names are not:
//! take an authority of your own for each installation. Certificates must be of
//! X.509 version 3: `openssl x509 -req` may make version 1 unless it is given
//! extensions.

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
pub use error::{Error, Phase};
pub use facts::{Facts, FactsRequest, Identity, Retired, Worker};
pub use http::HttpScheduler;
pub use options::Options;
pub use scheduler::{Afterwards, Attribute, Client, Scheduler, Workers};
pub use tls::{CA_VARIABLE, CERTIFICATE_VARIABLE, KEY_VARIABLE, TlsConfig, TlsError};
