//! Builds plugin crates into WebAssembly components.
//!
//! A plugin is an ordinary Rust crate with `crate-type = ["cdylib"]` that depends on `dask-operator-plugin`.
//! [`Build`] compiles one or more of them for `wasm32-unknown-unknown` with a suitable compiler of this machine
//! ([`Compiler::find`]) and encodes each module as a component. It refuses a component that imports any interface
//! other than the operator's own.
//!
//! The build never installs anything and never calls rustup. It can be called from a build script: it uses its own
//! target directory, and the environment of the outer cargo is hidden from it.
//!
//! ```no_run
//! let components = dask_operator_plugin_build::Build::new("/tmp/wasm").plugin("plugins/cluster").run()?;
//! println!("{} bytes", components[0].bytes.len());
//! # Ok::<(), dask_operator_plugin_build::BuildError>(())
//! ```

mod build;
mod compiler;
mod component;
mod environment;

pub use build::{Build, BuildError};
pub use compiler::{Compiler, CompilerNotFound, Std};
pub use component::{BuiltComponent, ComponentError, Interfaces, TARGET, interfaces};
