//! Builds plugin crates into WebAssembly components.
//!
//! A plugin is an ordinary Rust crate with `crate-type = ["cdylib"]` that depends on `dask-operator-plugin`.
//! [`Build`] compiles one or several of them for `wasm32-unknown-unknown` with whatever compiler this
//! machine has for it ([`Compiler::find`]), wraps each module into a component, checks it, and refuses
//! one that imports anything but the operator's own interfaces.
//!
//! The build never installs anything and never calls rustup. It can be called from a build script: it
//! works in a target directory of its own, and the environment of the outer cargo is kept from it.
//!
//! ```no_run
//! let components = dask_operator_plugin_build::Build::new("/tmp/wasm").plugin("plugins/cluster").run()?;
//! println!("{} bytes", components[0].bytes.len());
//! # Ok::<(), dask_operator_plugin_build::Error>(())
//! ```

mod build;
mod compiler;
mod component;
mod environment;

pub use build::{Build, Error};
pub use compiler::{Compiler, CompilerNotFound, Std};
pub use component::{Component, ComponentError, Interfaces, TARGET, interfaces};
