//! Pure logic of the operator.
//!
//! This crate has no I/O, no clock and no WebAssembly. Every input of a decision is an argument, so that `render` and the
//! operator decide alike and every rule can be tested without a cluster.
//!
//! The modules, in the order in which a plan passes through them:
//!
//! - [`parent`]: the Dask resource that owns the children;
//! - [`plan`]: the output of a component;
//! - [`gate`]: the validation of a plan;
//! - [`stamp`]: the objects that are sent to the API server;
//! - [`diff`]: the comparison of desired and observed objects;
//! - [`apply_cache`] and [`write_breaker`]: the API server's responses to applies, and the number of writes;
//! - [`status`]: the parent's status and its conditions;
//! - [`api_error`] and [`backoff`]: the classification of API server errors, and the delay before a retry.
//!
//! The other modules:
//!
//! - [`raw_object`]: JSON objects that are only partly parsed;
//! - [`copies`]: objects that differ only in their names;
//! - [`reasons!`]: reasons as enums, with their words in conditions, events and metrics, and descriptions for users;
//! - [`labels`], [`names`], [`quantity`] and [`rfc1123`]: conventions of Kubernetes, shared with plugins;
//! - [`predecessor`]: children that dask-kubernetes creates;
//! - [`digest`]: SHA-256 digests;
//! - [`text`] and [`json`]: the sanitising of untrusted text, the root cause of an error, and the memory that JSON takes.

pub mod api_error;
pub mod apply_cache;
pub mod backoff;
pub mod conditions;
pub mod copies;
pub mod diff;
pub mod digest;
pub mod gate;
pub mod json;
pub mod parent;
pub mod plan;
pub mod predecessor;
pub mod raw_object;
mod reasons;
pub mod stamp;
pub mod status;
pub mod text;
pub mod write_breaker;

pub use dask_operator_kubernetes::{labels, names, quantity, rfc1123};
