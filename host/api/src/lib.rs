//! The Dask resources as Rust types, and their CRDs.
