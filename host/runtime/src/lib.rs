//! WebAssembly runtime that loads and calls the operator's plugin components.
//!
//! The operator, its webhook and the command line share this crate. It implements
//! the contract in `wit/` and does not depend on a Kubernetes client. It has no
//! async code: calls block the calling thread, usually for microseconds and for
//! [`CallLimits::deadline`] at most. [`until`] sets one deadline for several calls.
//!
//! ```no_run
//! use dask_operator_runtime::{CallLimits, Component, Engine, EngineConfig, Interface};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new(EngineConfig::default())?;
//! let wasm = std::fs::read("cluster.wasm")?;
//! let component = Component::load(&engine, "cluster.wasm", &wasm, CallLimits::default())?;
//! let findings = component.validate(Interface::Cluster, r#"{"kind": "DaskCluster"}"#, None, "{}")?;
//! # Ok(())
//! # }
//! ```
//!
//! Each call creates a new store and a new instance from the pre-linked, compiled
//! component ([`Component`]) and applies limits on memory, time and output
//! ([`CallLimits`]). It returns the component's answer, or a [`CallError`] that names
//! the component and the failure. A component that misbehaves affects only its own
//! call.

mod answer;
mod artefacts;
mod call;
mod compiler;
mod compiling;
mod component;
mod container;
pub mod contract;
mod engine;
mod error;
mod failed_compilations;
mod fair_semaphore;
mod inspect;
mod interface;
mod json;
mod limits;
mod log;
mod observer;
mod shape;
mod state;
mod time;
mod unsafe_ops;

pub use compiler::{COMPILER_FAILED, CompilerProgram};
pub use compiling::{CompileLimits, Compiled, Compiling, ProcessLimits, compile_into_cache, compile_permit};
pub use component::{Component, Description};
pub use container::ContainerMemory;
pub use dask_operator_core::digest::Digest;
pub use engine::{Allocation, Cache, CompilePermit, Engine, EngineConfig};
pub use error::{CallError, EngineError, Failure, FailureReason, LoadError, LoadErrorKind, LoadErrorReason};
pub use interface::Interface;
pub use limits::CallLimits;
pub use observer::{CallObserver, CallReport};
pub use shape::Shape;
pub use time::{left, until};
