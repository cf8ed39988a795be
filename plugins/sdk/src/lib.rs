//! What a plugin for the Dask operator is written with.
//!
//! A plugin is a WebAssembly component that computes. The operator gives it everything that it may look at as an
//! argument and carries out what it returns. `wit/` has the contract; this crate has it as Rust:
//!
//! * [`Plugin`] says what the component is and which settings it has;
//! * [`Logic`] replaces what the operator does for one kind of resource: [`Cluster`], [`WorkerGroup`], [`Job`] or
//!   [`Autoscaler`];
//! * [`Policy`] refuses or changes what people ask for and what logic planned; [`changes`] writes its patches;
//! * [`export!`] makes the component; [`log`] is all it can reach; [`testing`] tries it without WebAssembly;
//! * [`dask`] has what the default components know: names, labels, environment, addresses, defaults, checks.
//!
//! A whole plugin, with `crate-type = ["cdylib"]` and this crate as its one dependency:
//!
//! ```
//! use dask_operator_plugin::prelude::*;
//!
//! struct NoDeletion;
//!
//! impl Plugin for NoDeletion {
//!     const NAME: &str = "no-deletion";
//!     const VERSION: &str = "1.0.0";
//!     const SUMMARY: &str = "Refuses to delete Dask resources.";
//!     type Settings = NoSettings;
//! }
//!
//! impl Policy for NoDeletion {
//!     fn admit(request: &AdmissionRequest, _: &NoSettings) -> Result<AdmissionResponse, String> {
//!         Ok(match request.operation {
//!             Operation::Delete => AdmissionResponse::refuse("", "ask the platform team to delete it"),
//!             _ => AdmissionResponse::allow(),
//!         })
//!     }
//!
//!     fn review_plan(_: &ReviewRequest, _: &NoSettings) -> Result<Review, String> {
//!         // Children may go: they do when a cluster is scaled down.
//!         Ok(Review::Allow)
//!     }
//! }
//!
//! export!(NoDeletion: policy);
//! ```

// The generated bindings name this crate as their users do.
extern crate self as dask_operator_plugin;

#[doc(hidden)]
pub mod bindings;
pub mod changes;
pub mod contract;
pub mod dask;
pub mod export;
pub mod log;
mod plugin;
pub mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use plugin::{Autoscaler, Cluster, Job, Logic, NoSettings, Plugin, Policy, Settings, WorkerGroup};
pub use {schemars, serde, serde_json};

#[doc(hidden)]
pub use wit_bindgen;

/// Everything that most plugins use.
pub mod prelude {
    pub use crate::changes::Changes;
    pub use crate::contract::*;
    pub use crate::export;
    pub use crate::plugin::{Autoscaler, Cluster, Job, Logic, NoSettings, Plugin, Policy, WorkerGroup};
    pub use serde_json::{Value, json};
}
