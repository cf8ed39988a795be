//! Command line tools for plugin authors: `dask-operator plugin`.
//!
//! * [`scaffold`]: creates a plugin crate.
//! * [`registry`]: reads components from files and registries, and pushes them.
//! * [`docker`]: finds the credentials that `docker login` stored.
//! * [`simulation`]: simulates the operator with a plugin, without a cluster.
//! * [`difference`]: compares JSON values.
//! * [`observation`]: reads hand-written observations and shows plans.
//! * [`recorded`]: reads recorded requests.
//! * [`cases`]: reads and runs test files.
//! * [`commands`]: the subcommands.

pub mod cases;
pub mod commands;
pub mod difference;
pub mod docker;
mod error;
pub mod observation;
pub mod recorded;
pub mod registry;
pub mod scaffold;
pub mod simulation;

pub use commands::PluginCommand;
pub use error::AuthorError;
