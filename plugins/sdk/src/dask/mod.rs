//! Building blocks of the default components for Dask on Kubernetes.
//!
//! Names, labels, environment and precedence are those of dask-kubernetes, because users' manifests, dashboards and the
//! Python client depend on them.

pub mod address;
pub mod backoff;
pub mod checks;
pub mod command;
pub mod conditions;
pub mod defaults;
pub mod environment;
pub mod fields;
pub mod hash;
pub mod kinds;
pub mod main_container;
pub mod metadata;
pub mod names;
pub mod pod;
pub mod pods;
pub mod quantity;
pub mod resource;
pub mod role;
pub mod scheduler;
mod start;
pub mod termination_message;
pub mod time;
pub mod update;
pub mod workload;

pub use dask_operator_kubernetes::labels;
