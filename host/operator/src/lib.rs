//! A Kubernetes operator for Dask whose logic plugins and policies are WebAssembly components.
//!
//! The path of a change through the modules:
//!
//! 1. [`cache`] watches the objects, and stores them in the informer cache.
//! 2. [`controller`] maps a change to the Dask resources that it affects, and takes them from its work queue.
//! 3. [`reconcile`] reconciles one resource in five steps, each with a type of its own: observe, plan, diff, apply, report.
//!    [`plugins`] has the components that decide, and the rules about plugin resources; its module `load` loads them.
//! 4. [`schedulers`] queries the Dask schedulers for what plans request, and requeues the resources that requested it.
//! 5. The [`webhook`] answers admission requests of the API server.
//!
//! Only the replica that leads, by [`leader_election`], reconciles. [`client`] connects to the API server, and has what all
//! requests share: types, writes, events, and the loop of all watches. [`threads`] runs work that may block, and [`server`]
//! answers HTTP requests. Each part registers its metrics in the registry of [`metrics`].
//!
//! Imports point downwards: [`run`] wires all parts; [`controller`] uses [`reconcile`], which uses [`schedulers`], [`cache`] and
//! [`plugins`]; these and the [`webhook`] use [`client`]; [`metrics`], [`health`], [`threads`], [`leader_election`] and
//! [`log_limit`] are at the bottom. `tests/layers.rs` checks this, and which modules do I/O. [`mod@reference`] lists the conditions
//! for the documentation.

// Only contributors read this page.
#![allow(rustdoc::private_intra_doc_links)]

pub mod args;
mod cache;
mod client;
mod controller;
mod health;
mod key;
mod leader_election;
mod legacy_env;
mod log_limit;
mod logging;
mod metrics;
mod newest;
mod plugins;
mod reconcile;
mod recording;
pub mod reference;
pub mod run;
mod schedulers;
mod selection;
mod server;
mod threads;
mod webhook;
