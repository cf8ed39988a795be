//! Components that are or were in force, by digest, on disk: so that a restart needs no
//! registry.

use std::fs;
use std::io;
use std::path::PathBuf;

use dask_operator_sources::verify;

use crate::newest;

/// How many are kept. The oldest go first.
const MOST: usize = 64;

/// A folder of components; without one nothing is kept.
#[derive(Clone, Debug, Default)]
pub struct Kept(Option<PathBuf>);

impl Kept {
    /// Keeps components in this folder, which is made when it is needed.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// The bytes with this digest, `sha256:…`; none that were changed since.
    #[must_use]
    pub fn load(&self, digest: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.path(digest)?).ok()?;
        verify(&bytes, digest).ok().map(|()| bytes)
    }

    /// Keeps these bytes.
    ///
    /// # Errors
    ///
    /// When they can't be written.
    pub fn store(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let Some(path) = self.path(digest) else {
            return Ok(());
        };
        if self.load(digest).is_some() {
            // It is among the newest again.
            return fs::File::open(&path)?.set_modified(std::time::SystemTime::now());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        newest::write(&path, bytes, 0o644)?;
        match &self.0 {
            Some(folder) => newest::keep(folder, ".wasm", MOST),
            None => Ok(()),
        }
    }

    /// The file of a digest. A digest has hexadecimal digits only, so that it leads nowhere else.
    fn path(&self, digest: &str) -> Option<PathBuf> {
        let digits = digest.strip_prefix("sha256:")?;
        let is_digest = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let folder = self.0.as_ref().filter(|_| is_digest)?;
        Some(folder.join(format!("{digits}.wasm")))
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_sources::digest;

    use super::*;

    #[test]
    fn what_is_kept_is_found_unless_it_was_changed() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let kept = Kept::new(Some(folder.path().join("kept")));
        let name = digest(b"component");
        assert_eq!(kept.load(&name), None);
        kept.store(&name, b"component")?;
        kept.store(&name, b"component")?;
        assert_eq!(kept.load(&name).as_deref(), Some(&b"component"[..]));
        let file = folder
            .path()
            .join("kept")
            .join(format!("{}.wasm", &name["sha256:".len()..]));
        fs::write(file, b"something else")?;
        assert_eq!(kept.load(&name), None);
        Ok(())
    }

    #[test]
    fn a_digest_leads_nowhere_else() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let kept = Kept::new(Some(folder.path().to_owned()));
        kept.store("sha256:../../x", b"x")?;
        assert_eq!(kept.load("sha256:../../x"), None);
        assert_eq!(fs::read_dir(folder.path())?.count(), 0);
        Ok(())
    }
}
