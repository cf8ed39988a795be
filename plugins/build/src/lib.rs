//! Builds plugin crates into WebAssembly components.
