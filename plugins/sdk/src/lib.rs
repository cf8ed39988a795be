//! SDK for plugins of the Dask operator.
//!
//! A plugin is a WebAssembly component that only computes. The operator passes everything that a component may read as an
//! argument and carries out the plan or verdict that it returns. The contract is defined in `wit/`; this crate provides it
//! to Rust:
//!
//! * [`Plugin`] describes the component and its settings.
//! * [`Logic`] replaces the operator's logic for one kind of resource: [`Cluster`], [`WorkerGroup`], [`Job`] or
//!   [`Autoscaler`].
//! * [`Policy`] refuses or changes requests of users and plans of the logic; [`changes`] creates its patches.
//! * [`export!`] generates the component's exports; [`log`] is the only function that it can call; [`testing`] runs a
//!   plugin without WebAssembly.
//! * [`dask`] contains the building blocks of the default components: names, labels, environment, addresses, defaults,
//!   checks, conditions.
//!
//! A complete plugin, with `crate-type = ["cdylib"]` and this crate as its only dependency:
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
//!         // Children may be deleted: scaling down a cluster deletes some.
//!         Ok(Review::Allow)
//!     }
//! }
//!
//! export!(NoDeletion: policy);
//! ```

// The generated bindings refer to this crate by its external name.
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

pub use plugin::{
    Autoscaler, Cluster, ComponentSettings, Job, Logic, NoSettings, Plugin, Policy, WorkerGroup,
};
pub use {schemars, serde, serde_json};

#[doc(hidden)]
pub use wit_bindgen;

/// Items that most plugins use.
pub mod prelude {
    pub use crate::changes::Changes;
    pub use crate::contract::*;
    pub use crate::export;
    pub use crate::plugin::{Autoscaler, Cluster, Job, Logic, NoSettings, Plugin, Policy, WorkerGroup};
    pub use serde_json::{Value, json};
}
