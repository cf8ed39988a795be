//! A Kubernetes operator for Dask whose decisions are WebAssembly components.
pub mod client;
pub mod errors;
pub mod kinds;
pub mod metrics;
pub mod object;
pub mod queue;
pub mod routes;
pub mod store;
pub mod writes;
