//! The children of a manifest, computed without a cluster.
