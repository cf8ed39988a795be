//! A Kubernetes operator for Dask whose logic plugins and policies are WebAssembly components.
//!
//! The path of a change through the modules:
//!
//! 1. [`watches`] stores the objects that the API server sends in the informer cache ([`stores`]).
//! 2. [`routes`] maps a change to the Dask resources that it affects. The [`controller`] takes them from the work queue
//!    ([`queue`]).
//! 3. [`reconcile`] reconciles one resource: it gathers the state ([`observe`]), calls the component and the policies
//!    ([`plugins`]), checks the plan (`dask-operator-core`), computes the difference ([`changes`]), writes it
//!    ([`writes`]) and reports the result (status and [`events`]).
//! 4. [`schedulers`] queries the Dask schedulers for what plans request, and requeues the resources that requested it.
//! 5. The [`webhook`] answers admission requests of the API server.
//!
//! Only the replica that is [`leading`], by a [`lease`], reconciles.
//!
//! Requests to the API server are sent by [`watches`], [`discovery`], [`nodes`], [`writes`], [`events`], [`lease`],
//! [`install`] and the [`webhook`], through the [`client`]. [`schedulers`] sends the requests to Dask. [`server`]
//! answers incoming requests. No other module does network I/O.

pub mod args;
mod aside;
pub mod changes;
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
