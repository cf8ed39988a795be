//! Offline computation of a manifest's children. It decides with the operator's own code, and needs no cluster.
//!
//! * [`documents`]: reads Dask resources from files, folders and standard input.
//! * [`render`](mod@render): default, validate, plan, finish; repeated for children that are Dask resources.
//! * [`command`]: `dask-operator render`.

pub mod command;
pub mod documents;
pub mod render;

pub use command::RenderArgs;
