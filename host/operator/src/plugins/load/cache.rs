//! Disk cache of components that are or were active, by owner and digest, so that a restart needs no registry.
//!
//! Each namespace has a folder of its own and can't read the components of another one. If the folders of all namespaces are too
//! large together, the oldest components of the largest folder are removed.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use dask_operator_core::digest::Digest;
use dask_operator_sources::verify;

use crate::key::PluginId;
use crate::newest;

/// Number of components of the cluster that are stored, and their total size in bytes. The oldest ones are removed first.
const MOST: usize = 64;
const BYTES: u64 = 256 << 20;

/// Number of components of each namespace that are stored.
const MOST_OF_NAMESPACE: usize = crate::plugins::rights::MAX_PLUGINS;

/// Total size of the components of all namespaces, in bytes. Beyond it, the largest folder is reduced first.
const BYTES_OF_NAMESPACES: u64 = 256 << 20;

/// Suffix of the files.
const END: &str = ".wasm";

/// Folder that contains one folder for each namespace.
const NAMESPACES: &str = "namespaces";

/// Folder of components; nothing is stored if it is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ComponentCache(Option<PathBuf>);

impl ComponentCache {
    /// Creates a store in this folder, which is created when it is needed.
    #[must_use]
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// Returns the folder of the records about components that are being tried.
    pub(super) fn crash_records_folder(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|folder| folder.join("tried"))
    }

    /// Returns the bytes with this digest, `sha256:…`, that were stored for a plugin of the cluster or of the same namespace.
    /// `None` if there are none, or if they were changed since.
    #[must_use]
    pub(crate) fn load(&self, owner: &PluginId, digest: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.path(owner, digest)?).ok()?;
        verify(&bytes, digest).ok().map(|()| bytes)
    }

    /// Stores these bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes can't be written, or if superfluous files can't be removed.
    pub(crate) fn store(&self, owner: &PluginId, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let Some(path) = self.path(owner, digest) else {
            return Ok(());
        };
        if self.load(owner, digest).is_some() {
            // The new time makes the file one of the newest.
            return fs::File::open(&path)?.set_modified(std::time::SystemTime::now());
        }
        let Some(folder) = path.parent() else {
            return Ok(());
        };
        fs::create_dir_all(folder)?;
        newest::write(&path, bytes, 0o644)?;
        match owner.namespace {
            None => newest::keep(folder, END, MOST, BYTES),
            Some(_) => {
                newest::keep(folder, END, MOST_OF_NAMESPACE, BYTES_OF_NAMESPACES)?;
                self.reduce_to(BYTES_OF_NAMESPACES)
            }
        }
    }

    /// Removes the oldest files of the largest folder until the folders of all namespaces together have at most `most` bytes.
    fn reduce_to(&self, most: u64) -> io::Result<()> {
        loop {
            let folders = self
                .of_namespaces()
                .into_iter()
                .flat_map(|folder| entries(&folder));
            let sizes: Vec<_> = folders
                .map(|folder| (bytes_in(&folder.path()), folder.path()))
                .collect();
            let all: u64 = sizes.iter().map(|(bytes, _)| bytes).sum();
            let Some((bytes, folder)) = sizes.into_iter().max().filter(|_| all > most) else {
                return Ok(());
            };
            newest::keep(&folder, END, MOST_OF_NAMESPACE, bytes.saturating_sub(1))?;
        }
    }

    /// Removes the folders of all namespaces except these, which have plugins. Blocks the thread.
    ///
    /// # Errors
    ///
    /// Returns an error if a folder can't be removed.
    pub(crate) fn keep_only(&self, namespaces: &BTreeSet<String>) -> io::Result<()> {
        let Some(folder) = self.of_namespaces().filter(|folder| folder.exists()) else {
            return Ok(());
        };
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry
                .file_name()
                .to_str()
                .is_none_or(|name| !namespaces.contains(name))
            {
                match fs::remove_dir_all(entry.path()) {
                    // Another task has removed the folder.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
            }
        }
        Ok(())
    }

    fn of_namespaces(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|folder| folder.join(NAMESPACES))
    }

    /// Returns the path of a digest's file. Neither a digest nor a namespace can lead outside of the store.
    fn path(&self, owner: &PluginId, digest: &str) -> Option<PathBuf> {
        let file = format!("{}{END}", digits(digest)?);
        let folder = match &owner.namespace {
            None => self.0.clone()?,
            Some(namespace) if dask_operator_core::rfc1123::is_label(namespace) => {
                self.of_namespaces()?.join(namespace)
            }
            Some(_) => return None,
        };
        Some(folder.join(file))
    }
}

/// Returns the readable entries of a folder.
fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Returns the total size of the components in a folder, in bytes.
fn bytes_in(folder: &Path) -> u64 {
    let components = entries(folder).filter(|file| file.file_name().to_string_lossy().ends_with(END));
    components
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

/// Returns the hexadecimal digits of a digest, `sha256:…`; `None` if it is malformed.
pub(super) fn digits(digest: &str) -> Option<String> {
    Some(digest.parse::<Digest>().ok()?.hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::digest;

    fn owner(namespace: &str) -> PluginId {
        PluginId {
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: "p".into(),
        }
    }

    #[test]
    fn loads_stored_bytes_unless_they_were_changed() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let cache = ComponentCache::new(Some(folder.path().join("components")));
        let (name, owner) = (digest(b"component"), owner(""));
        assert_eq!(cache.load(&owner, &name), None);
        cache.store(&owner, &name, b"component")?;
        cache.store(&owner, &name, b"component")?;
        assert_eq!(cache.load(&owner, &name).as_deref(), Some(&b"component"[..]));
        let file = folder
            .path()
            .join("components")
            .join(format!("{}.wasm", &name["sha256:".len()..]));
        fs::write(file, b"something else")?;
        assert_eq!(cache.load(&owner, &name), None);
        Ok(())
    }

    #[test]
    fn owners_can_neither_read_nor_evict_each_others_components() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let cache = ComponentCache::new(Some(folder.path().to_owned()));
        let (own, of_cluster) = (digest(b"a"), digest(b"of the cluster"));
        cache.store(&owner(""), &of_cluster, b"of the cluster")?;
        cache.store(&owner("a"), &own, b"a")?;
        for number in 0..2 * MOST {
            let bytes = number.to_string();
            cache.store(&owner("b"), &digest(bytes.as_bytes()), bytes.as_bytes())?;
        }
        assert!(cache.load(&owner("a"), &own).is_some() && cache.load(&owner(""), &of_cluster).is_some());
        assert_eq!(
            fs::read_dir(folder.path().join("namespaces/b"))?.count(),
            MOST_OF_NAMESPACE
        );
        for (other, digest) in [("b", &own), ("", &own), ("a", &of_cluster)] {
            assert_eq!(cache.load(&owner(other), digest), None, "{other}");
        }
        cache.keep_only(&BTreeSet::from(["a".to_owned()]))?;
        assert!(!folder.path().join("namespaces/b").exists() && cache.load(&owner("a"), &own).is_some());
        Ok(())
    }

    #[test]
    fn the_largest_namespace_is_reduced_first() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let cache = ComponentCache::new(Some(folder.path().to_owned()));
        for (namespace, bytes) in [
            ("", "of the cluster"),
            ("a", "a1"),
            ("a", "a2"),
            ("a", "a3"),
            ("b", "bb"),
        ] {
            cache.store(&owner(namespace), &digest(bytes.as_bytes()), bytes.as_bytes())?;
        }
        let count = |namespace: &str| entries(&folder.path().join(NAMESPACES).join(namespace)).count();
        cache.reduce_to(8)?;
        assert_eq!((count("a"), count("b")), (3, 1), "it is not too much");
        cache.reduce_to(5)?;
        assert_eq!((count("a"), count("b")), (1, 1));
        cache.reduce_to(0)?;
        assert_eq!((count("a"), count("b")), (0, 0));
        assert!(cache.load(&owner(""), &digest(b"of the cluster")).is_some());
        Ok(())
    }

    #[test]
    fn paths_stay_inside_the_store() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let cache = ComponentCache::new(Some(folder.path().to_owned()));
        for (namespace, digest) in [
            ("", "sha256:../../x".to_owned()),
            ("../..", digest(b"x")),
            ("", String::new()),
        ] {
            cache.store(&owner(namespace), &digest, b"x")?;
            assert_eq!(cache.load(&owner(namespace), &digest), None);
        }
        assert_eq!(fs::read_dir(folder.path())?.count(), 0);
        Ok(())
    }
}
