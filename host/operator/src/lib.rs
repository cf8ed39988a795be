//! A Kubernetes operator for Dask whose decisions are WebAssembly components.
//!
//! What happens, in this order, and where:
//!
//! 1. [`watches`] put what the API server says into the [`stores`];
//! 2. [`routes`] say which Dask resources a change concerns, and the
//!    [`controller`] takes them from the [`queue`];
//! 3. [`reconcile`] makes a pass over one: [`observe`], ask the component and the
//!    policies ([`plugins`]), check (`dask-operator-core`), find out what differs
//!    ([`changes`]), write it ([`writes`]), report (status, [`events`]);
//! 4. [`schedulers`] ask Dask schedulers what plans want to know of them, and
//!    bring who wanted it back into the queue;
//! 5. the [`webhook`] answers API servers before they store what people send.
//!
//! Of several replicas only the one that is [`leading`], by a [`lease`], does 3.
//!
//! Requests are sent from [`watches`], [`discovery`], [`nodes`], [`writes`], [`events`], [`lease`], [`install`] and
//! the [`webhook`], through the [`client`], and to Dask from [`schedulers`]; [`server`] answers
//! some. Nothing else does any I/O.

mod aside;
pub mod changes;
pub mod cli;
pub mod client;
pub mod controller;
pub mod discovery;
pub mod errors;
pub mod events;
pub mod health;
pub mod install;
pub mod kinds;
pub mod kopf;
pub mod leading;
pub mod lease;
pub mod listings;
pub mod loading;
pub mod logging;
pub mod metrics;
mod newest;
pub mod nodes;
pub mod object;
pub mod observe;
mod planning;
pub mod plugins;
pub mod queue;
pub mod reconcile;
pub mod recording;
pub mod routes;
pub mod run;
pub mod schedulers;
pub mod selection;
pub mod server;
pub mod settings;
pub mod store;
pub mod stores;
pub mod tasks;
mod threads;
pub mod trouble;
mod unwritten;
pub mod watches;
pub mod webhook;
pub mod writes;
mod written;
