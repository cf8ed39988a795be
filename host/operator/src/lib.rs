//! A Kubernetes operator for Dask whose decisions are WebAssembly components.
