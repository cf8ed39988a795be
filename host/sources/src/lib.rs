//! Where components come from: OCI registries and files. What is fetched is bytes;
//! whether they are a component, the runtime says.
//!
//! * [`oci`]: pull from and push to a registry, over TLS.
//! * [`credentials`]: who one is there, from docker's configuration.
//! * [`mod@file`]: files below folders that the administrator allows.
//! * [`allowed`]: which of all these may be used.
//! * [`verify`]: that the bytes are those that somebody meant.

pub mod allowed;
pub mod credentials;
mod error;
pub mod file;
pub mod oci;

pub use allowed::Pattern;
pub use credentials::Credentials;
pub use error::SourceError;
use sha2::{Digest as _, Sha256};

/// How large a component may be, in bytes: one that carries a Python interpreter has
/// some 40 MB.
pub const SIZE_LIMIT: usize = 128 << 20;

/// The digest of these bytes, `sha256:…`.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    named(Sha256::new_with_prefix(bytes))
}

/// The digest of what went into this hash, `sha256:…`.
fn named(hash: Sha256) -> String {
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Makes sure that the bytes have this digest, `sha256:…`.
///
/// # Errors
///
/// When they have another.
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
