//! Unsafe operations: loading compiled code, and a call of the C library.

#![allow(unsafe_code)]

use std::path::Path;

use wasmtime::component::Component;

/// Maps a compiled component into memory.
///
/// The caller must ensure that only this process's user can write to the file, and
/// that its content is unchanged since it was written: see `artefacts.rs`.
pub(crate) fn map(engine: &wasmtime::Engine, artefact: &Path) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize_file` executes the content of the file as machine code, so
    // the content must come from `Component::serialize` unchanged and must not change
    // while it is mapped. Artefacts are stored in a directory that only this process's
    // user can write to. They are compared with a checksum taken when they were
    // written, and they are replaced by renaming and never written in place. wasmtime
    // itself checks that they fit this engine and this processor.
    unsafe { Component::deserialize_file(engine, artefact) }
}

/// Returns freed memory to the system. After a compilation that is 20 MiB. The C library would
/// retain it for further allocations, which most processes never make.
pub(crate) fn release_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function takes a number, may be called by any thread at any time, and only
    // accesses the allocator's own free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
