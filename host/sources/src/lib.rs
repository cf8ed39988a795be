//! Fetches, verifies and pushes WebAssembly components.
