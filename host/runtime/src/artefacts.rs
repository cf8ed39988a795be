//! On-disk cache of compiled components (artefacts).
//!
//! Compiling takes a fraction of a second for a small component and many seconds
//! for one that contains an interpreter. Mapping an artefact takes about a
//! millisecond. Artefacts are machine code that is executed unchecked. They are
//! therefore stored in a directory that only this process's user can write to, and
//! each has a checksum file next to it: a damaged artefact is compiled again.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::{Digest, EngineError, unsafe_ops};

/// Maximum number of artefacts of components without an owner. The oldest are removed first.
const MAX_UNOWNED: usize = 64;

/// Maximum total size of the artefacts of components without an owner, in bytes. The oldest are removed first.
const MAX_UNOWNED_BYTES: u64 = 512 << 20;

/// Maximum number of artefacts per owner. The oldest are removed first.
const MAX_PER_OWNER: usize = 20;

/// Maximum total size of the artefacts of all owners, in bytes. The oldest artefact of the owner with the largest total is
/// removed first.
const MAX_OWNED_BYTES: u64 = 512 << 20;

/// Age after which a temporary file counts as the remains of a killed process. Such files otherwise exist only for a moment
/// before they are renamed or removed.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// Directory of compiled components.
#[derive(Debug)]
pub(crate) struct Artefacts {
    dir: PathBuf,
    /// Hash of everything else that an artefact depends on: wasmtime's version, its
    /// settings and the processor.
    compatibility: String,
}

impl Artefacts {
    /// Opens this directory, or creates it if it does not exist.
    pub(crate) fn open(dir: &Path, engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        let refuse = |problem: String| EngineError::CacheDir {
            dir: dir.to_owned(),
            problem,
        };
        private_dir(dir).map_err(refuse)?;
        let mut hasher = StableHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let compatibility = format!("{:016x}", hasher.finish());
        let artefacts = Self {
            dir: dir.to_owned(),
            compatibility,
        };
        if let Err(error) = artefacts.prune() {
            tracing::debug!(dir = %dir.display(), "failed to prune the cache: {error}");
        }
        Ok(artefacts)
    }

    /// Loads the compiled component. Returns `None` if it is not in the cache, is damaged or can't be used.
    pub(crate) fn load(
        &self,
        engine: &wasmtime::Engine,
        owner: Option<&str>,
        digest: &Digest,
    ) -> Option<Component> {
        let artefact = self.path(owner, digest, "cwasm");
        let compiled = fs::read(&artefact).ok()?;
        let recorded = fs::read_to_string(self.path(owner, digest, "sha256")).unwrap_or_default();
        if recorded.trim() != Digest::of(&compiled).hex() {
            tracing::warn!(artefact = %artefact.display(), "compiled component is damaged; compiling it again");
            return None;
        }
        drop(compiled);
        match unsafe_ops::map(engine, &artefact) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(
                    artefact = %artefact.display(),
                    "compiled component can't be used; compiling it again: {error:#}"
                );
                None
            }
        }
    }

    /// Stores a compiled component for the next start, then prunes the cache.
    pub(crate) fn store(&self, owner: Option<&str>, digest: &Digest, compiled: &[u8]) -> io::Result<()> {
        // A crash between the two writes leaves an artefact whose checksum is missing or
        // does not match, which is then compiled again.
        write(&self.path(owner, digest, "cwasm"), compiled)?;
        write(
            &self.path(owner, digest, "sha256"),
            Digest::of(compiled).hex().as_bytes(),
        )?;
        self.prune()
    }

    /// Removes the temporary files of a process that was killed or failed.
    pub(crate) fn remove_temporary_files_of(&self, process: u32) {
        let infix = format!(".{process}-");
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".tmp")
                && name.contains(&infix)
                && let Err(error) = remove(&entry.path())
            {
                tracing::warn!(file = %name, "failed to remove a temporary file of a compiler: {error}");
            }
        }
    }

    /// Returns whether an artefact exists. It may be damaged.
    pub(crate) fn contains(&self, owner: Option<&str>, digest: &Digest) -> bool {
        self.path(owner, digest, "cwasm").exists()
    }

    fn path(&self, owner: Option<&str>, digest: &Digest, extension: &str) -> PathBuf {
        let owner = owner.map_or_else(String::new, |owner| {
            format!("{}.", Digest::of(owner.as_bytes()).short())
        });
        self.dir.join(format!(
            "{owner}{}-{}.{extension}",
            digest.hex(),
            self.compatibility
        ))
    }

    fn prune(&self) -> io::Result<()> {
        let mut artefacts = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            // Another process may have removed the file in the meantime.
            let Ok(metadata) = path.metadata() else {
                continue;
            };
            let modified = metadata.modified()?;
            let is_stale = || modified.elapsed().is_ok_and(|age| age > STALE_AFTER);
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("cwasm") => artefacts.push(Artefact {
                    modified,
                    bytes: metadata.len(),
                    path,
                }),
                Some("tmp" | "probe") if is_stale() => remove(&path)?,
                // Checksum of an artefact that was removed.
                Some("sha256") if is_stale() && !path.with_extension("cwasm").exists() => remove(&path)?,
                _ => {}
            }
        }
        for path in excess(artefacts) {
            remove(&path)?;
            remove(&path.with_extension("sha256"))?;
        }
        Ok(())
    }
}

/// Compiled component, ordered by age: the oldest is the least.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Artefact {
    modified: SystemTime,
    path: PathBuf,
    bytes: u64,
}

impl Artefact {
    /// Returns the owner's part of the file name, or `None` if the component has no owner.
    fn owner(&self) -> Option<String> {
        let (owner, _) = self.path.file_stem()?.to_str()?.split_once('.')?;
        Some(owner.to_owned())
    }
}

/// Returns the artefacts to remove so that the limits on number and size hold: the oldest of each owner and of the
/// components without one. While the artefacts of all owners together are too large, the oldest artefact of the owner with
/// the largest total is removed.
fn excess(artefacts: Vec<Artefact>) -> Vec<PathBuf> {
    let mut by_owner: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for artefact in artefacts {
        by_owner.entry(artefact.owner()).or_default().push(artefact);
    }
    let mut removed = Vec::new();
    for (owner, artefacts) in &mut by_owner {
        let most = if owner.is_some() {
            MAX_PER_OWNER
        } else {
            MAX_UNOWNED
        };
        artefacts.sort();
        let excess = artefacts.len().saturating_sub(most);
        removed.extend(artefacts.drain(..excess));
    }
    let bytes = |artefacts: &[Artefact]| artefacts.iter().map(|artefact| artefact.bytes).sum::<u64>();
    let mut unowned = by_owner.remove(&None).unwrap_or_default();
    while bytes(&unowned) > MAX_UNOWNED_BYTES {
        removed.push(unowned.remove(0));
    }
    while by_owner.values().map(|artefacts| bytes(artefacts)).sum::<u64>() > MAX_OWNED_BYTES
        && let Some(most) = by_owner.values_mut().max_by_key(|artefacts| bytes(artefacts))
    {
        removed.push(most.remove(0));
    }
    removed.into_iter().map(|artefact| artefact.path).collect()
}

/// Removes a file. Succeeds if another process has already removed it.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a file atomically, through a temporary file. A mapping of the previous file stays unchanged.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // `remove_temporary_files_of` looks for the identifier of the process.
    let mut temporary = tempfile::Builder::new()
        .prefix(&format!("{name}.{}-", std::process::id()))
        .suffix(".tmp")
        .tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    temporary.write_all(bytes)?;
    temporary.persist(path)?;
    Ok(())
}

/// Creates a directory that only this process's user can access, or checks that an existing one is such a directory.
fn private_dir(dir: &Path) -> Result<(), String> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.to_string()),
    }
    let metadata = fs::symlink_metadata(dir).map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Err("not a directory".to_owned());
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "other users may access it (mode {:03o}), and its files are executed as machine code: name a directory \
             that doesn't exist yet, or remove this one",
            metadata.mode() & 0o777
        ));
    }
    // The owner of the directory can write to it. The owner of a new file is this process's user.
    match tempfile::tempfile_in(dir).and_then(|file| file.metadata()) {
        Ok(ours) if ours.uid() == metadata.uid() => Ok(()),
        Ok(_) => Err("it belongs to another user".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Hasher with a stable result: the same input has the same hash in every build, which
/// the standard library's hashers do not guarantee.
struct StableHasher(Sha256);

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest
            .iter()
            .take(8)
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn artefacts(dir: &Path) -> Artefacts {
        Artefacts::open(dir, &wasmtime::Engine::default()).expect("a private directory")
    }

    #[test]
    fn requires_a_private_directory() {
        let outer = tempfile::tempdir().expect("temporary directory");
        let dir = outer.path().join("some/where");
        artefacts(&dir);
        let mode = fs::metadata(&dir).expect("directory").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        artefacts(&dir);

        fs::set_permissions(&dir, fs::Permissions::from_mode(0o770)).expect("chmod");
        let error = Artefacts::open(&dir, &wasmtime::Engine::default()).expect_err("too open");
        assert!(error.to_string().contains("mode 770"), "{error}");

        std::os::unix::fs::symlink(&dir, outer.path().join("link")).expect("link");
        let error = Artefacts::open(&outer.path().join("link"), &wasmtime::Engine::default());
        assert!(error.expect_err("a link").to_string().contains("not a directory"));
    }

    #[test]
    fn limits_the_number_of_artefacts() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let artefacts = artefacts(&dir.path().join("cache"));
        for n in 0..MAX_UNOWNED + 3 {
            artefacts
                .store(None, &Digest::of(&n.to_le_bytes()), b"code")
                .expect("stored");
        }
        assert_eq!(
            fs::read_dir(&artefacts.dir).expect("directory").count(),
            2 * MAX_UNOWNED
        );
        // The artefacts of one owner do not displace those of another.
        for n in 0..MAX_UNOWNED + 3 {
            artefacts
                .store(Some("a"), &Digest::of(&n.to_le_bytes()), b"code")
                .expect("stored");
        }
        let count = fs::read_dir(&artefacts.dir).expect("directory").count();
        assert_eq!(count, 2 * (MAX_UNOWNED + MAX_PER_OWNER));
    }

    #[test]
    fn removes_artefacts_of_the_owner_with_the_largest_total() {
        let artefact = |name: &str, age: u64, megabytes: u64| Artefact {
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age),
            path: format!("/cache/{name}.cwasm").into(),
            bytes: megabytes << 20,
        };
        let artefacts = vec![
            artefact("0-0", 9, 300),
            artefact("1-0", 8, 300),
            artefact("2-0", 7, 100),
            artefact("a.1-0", 8, 60),
            artefact("b.2-0", 3, 200),
            artefact("b.3-0", 2, 200),
            artefact("b.4-0", 1, 200),
        ];
        let expected = ["/cache/0-0.cwasm", "/cache/b.2-0.cwasm"].map(Path::new);
        assert_eq!(excess(artefacts), expected);
    }

    #[test]
    fn removes_files_of_a_killed_process() {
        let outer = tempfile::tempdir().expect("temporary directory");
        let dir = outer.path().join("cache");
        artefacts(&dir)
            .store(None, &Digest::of(b"kept"), b"code")
            .expect("stored");
        let file = |name: &str, age: Duration| {
            let file = File::create(dir.join(name)).expect("file");
            let then = std::time::SystemTime::now() - age;
            file.set_modified(then).expect("a modification time");
        };
        let (old, new) = (STALE_AFTER + Duration::from_secs(60), Duration::from_secs(1));
        for (name, age) in [
            ("a-0.cwasm.7-Ab3dEf.tmp", old),
            ("b-0.cwasm.8-Ab3dEf.tmp", new),
            ("gone-0.sha256", old),
            ("other.txt", old),
        ] {
            file(name, age);
        }
        artefacts(&dir);
        let mut left: Vec<_> = fs::read_dir(&dir)
            .expect("directory")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with(&Digest::of(b"kept").hex()))
            .collect();
        left.sort();
        assert_eq!(left, ["b-0.cwasm.8-Ab3dEf.tmp", "other.txt"]);
        assert_eq!(fs::read_dir(&dir).expect("directory").count(), 4);
    }
}
