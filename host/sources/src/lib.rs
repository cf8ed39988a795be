//! Sources of components: OCI registries and files. This crate fetches bytes; the
//! runtime checks that they are a component.
//!
//! * [`oci`]: pulls from and pushes to a registry, over TLS.
//! * [`credentials`]: reads credentials for a registry from Docker's configuration.
//! * [`mod@file`]: reads files below folders that the administrator allows.
//! * [`allowed`]: checks a source against the administrator's allow-list.
//! * [`verify`]: compares the bytes with the expected digest.

pub mod allowed;
pub mod credentials;
mod error;
pub mod file;
pub mod oci;

pub use allowed::Pattern;
pub use credentials::Credentials;
use dask_operator_core::digest::Digest;
pub use error::{SourceError, SourceReason};

/// Maximum size of a component, in bytes. A component that contains a Python interpreter
/// has some 40 MB.
pub const SIZE_LIMIT: usize = 128 << 20;

/// Checks that the bytes have this digest, `sha256:…`.
///
/// # Errors
///
/// Returns an error if they have another digest.
pub fn verify(bytes: &[u8], expected: &str) -> Result<(), SourceError> {
    let found = Digest::of(bytes).to_string();
    if found == expected {
        return Ok(());
    }
    Err(SourceError::Digest {
        expected: expected.to_owned(),
        found,
    })
}
