//! From a core module to a component that the operator will load.

use std::path::PathBuf;

use wit_component::{ComponentEncoder, DecodedWasm};

/// The compiler's name for WebAssembly without an operating system: such a module can't ask for files, clock or
/// network, because there is nothing that it could ask.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A component, ready to be loaded.
#[derive(Debug, Clone)]
pub struct Component {
    /// The crate's package name.
    pub package: String,
    /// Where it was written to.
    pub path: PathBuf,
    /// The component itself.
    pub bytes: Vec<u8>,
    /// Interfaces that it needs, as `dask:operator/log@0.1.0`.
    pub imports: Vec<String>,
    /// Interfaces that it has.
    pub exports: Vec<String>,
    /// Sources that went into it, by folder: the crate itself and the path dependencies it has. A build script
    /// passes them to cargo as `rerun-if-changed`.
    pub sources: Vec<PathBuf>,
}

/// Why a module does not make a component that the operator loads.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// The module can't be wrapped; mostly it exports no interface.
    #[error(
        "the module is no component, because {0}; does the crate call `dask_operator_plugin::export!` and have \
         `crate-type = [\"cdylib\"]`?"
    )]
    Encode(String),
    /// It needs something that the operator does not give.
    #[error(
        "it imports {}, but the operator gives a component nothing but dask:operator/*: remove the dependency that \
         asks for it",
        .0.join(", ")
    )]
    Imports(Vec<String>),
}

/// What a component needs and has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// Interfaces that it needs, as `dask:operator/log@0.1.0`.
    pub imports: Vec<String>,
    /// Interfaces that it has.
    pub exports: Vec<String>,
}

/// Wraps a core module into a component and validates it.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| ComponentError::Encode(format!("{error:#}")))
}

/// Reads which interfaces a component needs and has, whatever they are.
///
/// # Errors
///
/// When it is no component.
pub fn interfaces(component: &[u8]) -> Result<Interfaces, ComponentError> {
    let decoded =
        wit_component::decode(component).map_err(|error| ComponentError::Encode(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(ComponentError::Encode("it is a WIT package".to_owned()));
    };
    let world = &resolve.worlds[world];
    let imports = world.imports.keys();
    let exports = world.exports.keys();
    Ok(Interfaces {
        imports: imports.map(|key| resolve.name_world_key(key)).collect(),
        exports: exports.map(|key| resolve.name_world_key(key)).collect(),
    })
}

/// The same; refuses a component that has nothing, or needs more than the operator gives.
pub(crate) fn fit(component: &[u8]) -> Result<Interfaces, ComponentError> {
    let interfaces = interfaces(component)?;
    if interfaces.exports.is_empty() {
        return Err(ComponentError::Encode("it has no interface".to_owned()));
    }
    let foreign: Vec<String> = interfaces
        .imports
        .iter()
        .filter(|name| !name.starts_with("dask:operator/"))
        .cloned()
        .collect();
    if foreign.is_empty() {
        Ok(interfaces)
    } else {
        Err(ComponentError::Imports(foreign))
    }
}
