//! The children of a manifest, computed without a cluster: by the same
//! components, through the same gate, finished in the same way as the operator
//! does it.
//!
//! * [`documents`]: files, folders and standard input become Dask resources.
//!   Fields that no Dask resource has are found here, by the definitions that the API server has.
//! * [`logic`]: who decides. Components do; tests also have the same code natively.
//! * [`plugins`]: the component of each kind, the default one or somebody's own.
//! * [`render`](mod@render): default, validate, plan, gate, finish; children that are Dask
//!   resources in turn.
//! * [`command`]: `dask-operator render`.

pub mod command;
pub mod convert;
pub mod documents;
mod fields;
pub mod logic;
pub mod plugins;
pub mod render;

pub use command::RenderArgs;
