//! The one place where compiled code is taken as it is.

#![allow(unsafe_code)]

use std::path::Path;

use wasmtime::component::Component;

/// Maps a compiled component into memory.
///
/// The caller has made sure that this process's user, and nobody else, could
/// write the file, and that its content is what was written: see `artefacts.rs`.
pub(crate) fn map(engine: &wasmtime::Engine, artefact: &Path) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize_file` runs what it is given as machine code, so it must
    // come from `Component::serialize` unchanged and must not change while it is
    // mapped. Artefacts lie in a directory that only our user can write to, are
    // compared with a checksum taken when they were written, are replaced by
    // renaming and never written in place. That they fit this engine and this
    // processor, wasmtime checks itself.
    unsafe { Component::deserialize_file(engine, artefact) }
}
