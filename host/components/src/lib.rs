//! The default components, built for WebAssembly and embedded.
