//! What the compiler can't check: taking compiled code as it is, and a call of the C library.

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

/// Gives memory that was freed back to the system. After a compilation that is 20 MiB, which the C
/// library would keep for later; there is no later for most processes.
pub(crate) fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function takes a number, may be called by any thread at any time, and touches
    // nothing but the allocator's own free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
