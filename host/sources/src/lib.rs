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
pub use error::{SourceError, SourceReason};
use sha2::{Digest as _, Sha256};

/// Maximum size of a component, in bytes. A component that contains a Python interpreter
/// has some 40 MB.
pub const SIZE_LIMIT: usize = 128 << 20;

/// Computes the digest of these bytes, `sha256:…`.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    formatted(Sha256::new_with_prefix(bytes))
}

/// Formats the digest of this hash, `sha256:…`.
fn formatted(hash: Sha256) -> String {
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Checks that the bytes have this digest, `sha256:…`.
///
/// # Errors
///
/// Returns an error if they have another digest.
pub fn verify(bytes: &[u8], expected: &str) -> Result<(), SourceError> {
    let found = digest(bytes);
    if found == expected {
        return Ok(());
    }
    Err(SourceError::Digest {
        expected: expected.to_owned(),
        found,
    })
}
