//! The children of a manifest, computed without a cluster: by the same
//! components, through the same gate, finished in the same way as the operator
//! does it.
//!
//! * [`admission`]: what is said of a resource before it is stored; the webhook's part that needs no network.
//! * [`documents`]: files, folders and standard input become Dask resources.
//! * `fields`: fields that no Dask resource, Pod or Service has, by the definitions that the API server has.
//! * [`manifest`]: what the API server makes of a manifest before it asks anybody.
//! * [`logic`]: who decides. Components do; tests also have the same code natively.
//! * [`policy`]: rules on top of that, stacked.
//! * [`plugins`]: the component of each kind, the default one or somebody's own.
//! * [`review`](mod@review): the stack of policies over planned children.
//! * [`render`](mod@render): default, validate, plan, review, gate, finish; children that are Dask
//!   resources in turn.
//! * [`rivals`]: autoscalers that scale the same worker group.
//! * [`yaml`]: YAML as kubectl reads it.
//! * [`command`]: `dask-operator render`.

pub mod admission;
pub mod command;
pub mod convert;
pub mod documents;
mod fields;
pub mod findings;
pub mod logic;
pub mod manifest;
pub mod plugins;
pub mod policy;
pub mod render;
pub mod review;
pub mod rivals;
pub mod yaml;

pub use command::RenderArgs;
