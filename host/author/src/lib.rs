//! Tools for authors of plugins: `dask-operator plugin`.
//!
//! * [`scaffold`]: a crate to begin with. * [`registry`]: files and registries. * [`place`]: a plugin in its place.
//! * [`difference`]: what differs. * [`observation`]: observations as people write them. * [`cases`]: test files.
//! * [`commands`]: the command line.

pub mod cases;
pub mod commands;
pub mod difference;
mod error;
pub mod observation;
pub mod place;
pub mod recorded;
pub mod registry;
pub mod scaffold;

pub use commands::PluginCommand;
pub use error::AuthorError;
