//! Offline computation of a manifest's children. It uses the same components, the same gate and the same finishing step
//! as the operator, but needs no cluster.
//!
//! * [`admission`]: decision about an admission request; the part of the webhook that needs no network.
//! * [`documents`]: reads Dask resources from files, folders and standard input.
//! * `fields`: checks the fields of Dask resources, Pods and Services against the schemas of the API server.
//! * [`manifest`]: applies the changes that the API server makes to a manifest before it calls any webhook.
//! * [`logic`]: interface of the logic plugins. Components implement it; tests also use the same code natively.
//! * [`policy`]: policies, which restrict or change the results of the logic.
//! * [`plugins`]: loads the component of each kind, either the default one or a replacement.
//! * [`review`](mod@review): runs the policies on planned children.
//! * [`render`](mod@render): default, validate, plan, review, gate, finish; repeated for children that are Dask
//!   resources.
//! * [`rivals`]: autoscalers that scale the same worker group.
//! * [`yaml`]: parses YAML as kubectl does.
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
