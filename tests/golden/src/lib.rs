//! Recorded children of manifests, compared natively and through WebAssembly.
