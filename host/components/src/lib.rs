//! The default components, built for WebAssembly and embedded.
//!
//! They are in the binary, so that nothing has to be fetched to start. `build.rs` builds them from `plugins/`.

/// A component that comes with the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// The name that the component gives itself.
    pub name: &'static str,
    /// The interface of `dask:operator` that it has, besides `describe`.
    pub interface: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

/// Logic of `DaskCluster`.
pub static CLUSTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cluster.wasm"));
/// Logic of `DaskWorkerGroup`.
pub static WORKER_GROUP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/worker-group.wasm"));
/// Logic of `DaskJob`.
pub static JOB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/job.wasm"));
/// Logic of `DaskAutoscaler`.
pub static AUTOSCALER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/autoscaler.wasm"));

/// All of them.
pub static ALL: [Embedded; 4] = [
    Embedded {
        name: "cluster",
        interface: "cluster",
        bytes: CLUSTER,
    },
    Embedded {
        name: "worker-group",
        interface: "worker-group",
        bytes: WORKER_GROUP,
    },
    Embedded {
        name: "job",
        interface: "job",
        bytes: JOB,
    },
    Embedded {
        name: "autoscaler",
        interface: "autoscaler",
        bytes: AUTOSCALER,
    },
];

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
