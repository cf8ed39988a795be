//! Temporary folders.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;
use tempfile::TempDir;

/// Returns a new temporary folder that only this user can access, regardless of the umask. Caches of compiled components must be
/// in such a folder, because their content is executed.
pub(crate) fn private() -> Result<TempDir> {
    let permissions = Permissions::from_mode(0o700);
    Ok(tempfile::Builder::new().permissions(permissions).tempdir()?)
}
