//! Encoding of a core module as a component, and checks of its interfaces. Pure.

use std::path::PathBuf;

use wit_component::{ComponentEncoder, DecodedWasm};

/// The compiler's name for WebAssembly without an operating system. A module for it can't access files, a clock or a
/// network, because the target has no interface for them.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A component that is ready to be loaded.
#[derive(Debug, Clone)]
pub struct BuiltComponent {
    /// The crate's package name.
    pub package: String,
    /// The file that it was written to.
    pub path: PathBuf,
    /// The content of the component.
    pub bytes: Vec<u8>,
    /// Names of the interfaces that it imports, such as `dask:operator/log@0.1.0`.
    pub imports: Vec<String>,
    /// Names of the interfaces that it exports.
    pub exports: Vec<String>,
    /// Source files and folders that it was built from, of the crate itself and of its path dependencies. A build
    /// script passes them to cargo as `rerun-if-changed`.
    pub sources: Vec<PathBuf>,
}

/// The reason that a module is no component that the operator loads.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// The module can't be encoded as a component; the usual cause is that it exports no interface.
    #[error(
        "the module is no component, because {0}; does the crate call `dask_operator_plugin::export!` and have \
         `crate-type = [\"cdylib\"]`?"
    )]
    Encode(String),
    /// The component imports interfaces that the operator does not provide.
    #[error(
        "it imports {}, but the operator gives a component nothing but dask:operator/*: remove the dependency that \
         asks for it",
        .0.join(", ")
    )]
    Imports(Vec<String>),
}

/// The interfaces of a component.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// Names of the interfaces that it imports, such as `dask:operator/log@0.1.0`.
    pub imports: Vec<String>,
    /// Names of the interfaces that it exports.
    pub exports: Vec<String>,
}

/// Encodes a core module as a component and validates it.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| ComponentError::Encode(format!("{error:#}")))
}

/// Returns the names of all interfaces that a component imports and exports.
///
/// # Errors
///
/// Returns an error if the bytes are no component.
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

/// Returns the interfaces of a component. Refuses a component that exports none or imports any that the operator does
/// not provide.
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
