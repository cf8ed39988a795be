//! The default components, built for WebAssembly and embedded.
//!
//! They are in the binary, so that nothing has to be fetched to start. `build.rs` builds them from `plugins/`.

/// A component that comes with the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// The name that the component gives itself, and that of the interface of `dask:operator` that it has besides
    /// `describe`.
    pub name: &'static str,
    /// The component.
    pub bytes: &'static [u8],
    /// The SHA-256 of these bytes. Who knows it need not read them, and what is not read takes no memory.
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

/// Logic of `DaskCluster`.
pub static CLUSTER: Embedded = embedded!("cluster");
/// Logic of `DaskWorkerGroup`.
pub static WORKER_GROUP: Embedded = embedded!("worker-group");
/// Logic of `DaskJob`.
pub static JOB: Embedded = embedded!("job");
/// Logic of `DaskAutoscaler`.
pub static AUTOSCALER: Embedded = embedded!("autoscaler");

/// All of them.
pub static ALL: [&Embedded; 4] = [&CLUSTER, &WORKER_GROUP, &JOB, &AUTOSCALER];

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of a component, and not of a core module: version 13, layer 1.
    const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 13, 0, 1, 0];

    #[test]
    fn all_are_components() {
        for component in ALL {
            assert!(component.bytes.starts_with(&COMPONENT), "{}", component.name);
        }
    }
}
