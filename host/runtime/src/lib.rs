//! Loads and calls the WebAssembly components. Knows no Kubernetes client.
