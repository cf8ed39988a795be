//! Decisions about Dask resources. The operator, its webhook, `dask-operator render` and the tools for plugin authors all decide
//! with an [`Evaluator`], so that they agree.
//!
//! Pure: the only effects are calls of components, which do no I/O.
//!
//! * [`evaluator`]: the logic plugin, the policies and the allowed kinds that apply to a resource.
//! * [`plugin_set`]: the plugins of all kinds, for callers that use the same ones for all resources.
//! * [`logic`]: logic plugins, which plan the children of the Dask resources. Components implement the interface; tests also use
//!   the same code natively.
//! * [`policy`]: policies, which restrict or change the results of the logic.
//! * [`plan`]: plans. The logic plans, the gate checks, the policies review, and the gate checks again.
//! * [`review`](mod@review): review of planned children by the policies.
//! * [`admission`]: decision about an admission request; the part of the webhook that needs no network.
//! * [`fields`]: checks the fields of Dask resources, Pods and Services against the schemas of the API server.
//! * [`suggest`]: advice for misspelled words.
//! * [`manifest`]: applies the changes that the API server makes to a manifest before it calls any webhook.
//! * [`findings`]: findings of components, as text and for the author of a manifest.
//! * [`autoscaler_conflict`]: autoscalers that scale the same worker group.
//! * [`convert`]: conversion between the types of the contract and those of the gate.

pub mod admission;
pub mod autoscaler_conflict;
pub mod convert;
pub mod evaluator;
pub mod fields;
pub mod findings;
pub mod logic;
pub mod manifest;
pub mod plan;
pub mod plugin_set;
pub mod policy;
pub mod review;
pub mod suggest;

pub use evaluator::{AllowedKinds, Evaluator};
pub use plugin_set::{ByKind, PluginSet};
