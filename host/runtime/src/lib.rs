//! Loads and calls the WebAssembly components that decide for the operator.
//!
//! This crate is the same for the operator, for its webhook and for the command
//! line. It knows the contract in `wit/` and nothing of Kubernetes clients; it
//! has no async code, and its calls block, for microseconds as a rule and for
//! [`Limits::deadline`] at most; several together can be bounded by [`until`].
//!
//! ```no_run
//! use dask_operator_runtime::{Component, Engine, EngineConfig, Interface, Limits};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new(EngineConfig::default())?;
//! let wasm = std::fs::read("cluster.wasm")?;
//! let component = Component::load(&engine, "cluster.wasm", &wasm, Limits::default())?;
//! let findings = component.validate(Interface::Cluster, r#"{"kind": "DaskCluster"}"#, None, "{}")?;
//! # Ok(())
//! # }
//! ```
//!
//! How a call goes: a fresh store and a fresh instance from the pre-linked,
//! compiled component ([`Component`]); limits on memory, time and output
//! ([`Limits`]); what the component answered, or a [`CallError`] that says which
//! component did what. A component that misbehaves harms nothing but its own call.

mod answer;
mod artefacts;
mod call;
mod compiler;
mod compiling;
mod component;
mod container;
pub mod contract;
mod digest;
mod engine;
mod error;
mod inspect;
mod interface;
mod json;
mod limits;
mod log;
mod observer;
mod shape;
mod time;
mod trusted;
mod turns;
mod uncompiled;

pub use compiler::{COMPILER_FAILED, Compiler};
pub use compiling::{CompileLimits, Compiled, Compiling, ProcessLimits, compile_into_cache, compile_turn};
pub use component::{Component, Description};
pub use container::ContainerMemory;
pub use digest::Digest;
pub use engine::{Allocation, Cache, CompileTurn, Engine, EngineConfig};
pub use error::{CallError, EngineError, Failure, LoadError, Unfit};
pub use interface::Interface;
pub use limits::Limits;
pub use observer::{CallObserver, CallReport};
pub use shape::Shape;
pub use time::{left, until};
