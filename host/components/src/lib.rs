//! Default components, compiled to WebAssembly and embedded.
//!
//! The components are part of the binary, so that the operator starts without fetching anything. `build.rs` builds them
//! from `plugins/`.
//!
//! * [`engine`]: creates the engine that compiles and runs them.
//! * [`load`](mod@load): loads them, or what the command line names in their place, and policies.

pub mod engine;
pub mod load;

/// A component that is part of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// The name that the component reports, which is also the name of the `dask:operator` interface that it exports
    /// besides `describe`.
    pub name: &'static str,
    /// The bytes of the component.
    pub bytes: &'static [u8],
    /// The SHA-256 of `bytes`. Code that needs only the digest does not read the bytes, and bytes that are not read take no
    /// memory.
    pub sha256: [u8; 32],
}

macro_rules! embedded {
    ($name:literal) => {
        Embedded {
            name: $name,
            bytes: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm")),
            sha256: *include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".sha256")),
        }
    };
}

/// The logic of `DaskCluster`.
pub static CLUSTER: Embedded = embedded!("cluster");
/// The logic of `DaskWorkerGroup`.
pub static WORKER_GROUP: Embedded = embedded!("worker-group");
/// The logic of `DaskJob`.
pub static JOB: Embedded = embedded!("job");
/// The logic of `DaskAutoscaler`.
pub static AUTOSCALER: Embedded = embedded!("autoscaler");

/// All embedded components.
pub static ALL: [&Embedded; 4] = [&CLUSTER, &WORKER_GROUP, &JOB, &AUTOSCALER];

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a component: version 13, layer 1. A core module has another header.
    const COMPONENT_HEADER: [u8; 8] = [0, b'a', b's', b'm', 13, 0, 1, 0];

    #[test]
    fn every_embedded_file_is_a_component() {
        for component in ALL {
            assert!(
                component.bytes.starts_with(&COMPONENT_HEADER),
                "{}",
                component.name
            );
        }
    }
}
