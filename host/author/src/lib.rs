//! Command line tools for plugin authors: `dask-operator plugin`.
//!
//! * [`scaffold`]: creates a plugin crate.
//! * [`registry`]: reads components from files and registries, and pushes them.
//! * [`docker`]: finds the credentials that `docker login` stored.
//! * [`simulation`]: simulates the operator with a plugin, without a cluster.
//! * [`diff`]: compares JSON values.
//! * [`observation`]: reads hand-written observations and shows plans.
//! * [`input`]: reads manifests, observations and recorded requests.
//! * [`test_file`]: reads and runs test files.
//! * [`commands`]: the subcommands.

pub mod commands;
pub mod diff;
pub mod docker;
mod error;
pub mod input;
pub mod observation;
pub mod registry;
pub mod scaffold;
pub mod simulation;
pub mod test_file;

pub use commands::PluginCommand;
pub use error::AuthorError;
