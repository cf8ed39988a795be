//! Compiled components on disk.
//!
//! Compiling takes a fraction of a second for a small component and many seconds
//! for one that carries an interpreter; mapping what was compiled before takes
//! about a millisecond. Artefacts are machine code that is run as it is, so
//! they lie in a directory that nobody else can write to, and each has its
//! checksum beside it: one that is damaged is compiled anew.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::{Digest, EngineError, trusted};

/// How many artefacts are kept of components that have no owner, and what they may take together, in bytes. The oldest go
/// first.
const KEPT: usize = 64;
const BYTES: u64 = 512 << 20;

/// And of those of each owner.
const KEPT_OF_OWNER: usize = 20;

/// What those of all owners may take together, in bytes. It is the turn of who has most then.
const BYTES_OF_OWNERS: u64 = 512 << 20;

/// After that time, a file that was to be renamed or removed at once is one that a process has left that was killed.
const LEFT_OVER: Duration = Duration::from_secs(3600);

/// A directory of compiled components.
#[derive(Debug)]
pub(crate) struct Artefacts {
    dir: PathBuf,
    /// What an artefact depends on besides the component: wasmtime's version, its
    /// settings, the processor.
    compatibility: String,
}

impl Artefacts {
    /// Uses this directory, or makes it.
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
            tracing::debug!(dir = %dir.display(), "what is superfluous can't be removed: {error}");
        }
        Ok(artefacts)
    }

    /// The compiled component, if it was compiled before and is undamaged.
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
            tracing::warn!(artefact = %artefact.display(), "compiled component is damaged; compiling it anew");
            return None;
        }
        drop(compiled);
        match trusted::map(engine, &artefact) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(
                    artefact = %artefact.display(),
                    "compiled component can't be used; compiling it anew: {error:#}"
                );
                None
            }
        }
    }

    /// Keeps a compiled component for the next start.
    pub(crate) fn store(&self, owner: Option<&str>, digest: &Digest, compiled: &[u8]) -> io::Result<()> {
        // A crash between the two leaves an artefact whose checksum is missing or
        // wrong: it is compiled anew then.
        write(&self.path(owner, digest, "cwasm"), compiled)?;
        write(
            &self.path(owner, digest, "sha256"),
            Digest::of(compiled).hex().as_bytes(),
        )?;
        self.prune()
    }

    /// Removes what a process that was ended has not written to its end.
    pub(crate) fn clear_after(&self, process: u32) {
        let its = format!(".{process}-");
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".tmp")
                && name.contains(&its)
                && let Err(error) = remove(&entry.path())
            {
                tracing::warn!(file = %name, "what a compiler has left can't be removed: {error}");
            }
        }
    }

    /// Whether there is one, which may be damaged.
    pub(crate) fn has(&self, owner: Option<&str>, digest: &Digest) -> bool {
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
            // One that is gone already was removed by another process.
            let Ok(metadata) = path.metadata() else {
                continue;
            };
            let modified = metadata.modified()?;
            let is_left_over = || modified.elapsed().is_ok_and(|age| age > LEFT_OVER);
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("cwasm") => artefacts.push(Artefact {
                    modified,
                    bytes: metadata.len(),
                    path,
                }),
                Some("tmp" | "probe") if is_left_over() => remove(&path)?,
                // The checksum of an artefact that was removed.
                Some("sha256") if is_left_over() && !path.with_extension("cwasm").exists() => remove(&path)?,
                _ => {}
            }
        }
        for path in superfluous(artefacts) {
            remove(&path)?;
            remove(&path.with_extension("sha256"))?;
        }
        Ok(())
    }
}

/// A compiled component.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Artefact {
    modified: SystemTime,
    path: PathBuf,
    bytes: u64,
}

impl Artefact {
    /// What its name says of its owner.
    fn owner(&self) -> Option<String> {
        let (owner, _) = self.path.file_stem()?.to_str()?.split_once('.')?;
        Some(owner.to_owned())
    }
}

/// The artefacts that are too many or too large: the oldest of each owner, and while those of all owners take too much, the
/// oldest of whoever has most.
fn superfluous(artefacts: Vec<Artefact>) -> Vec<PathBuf> {
    let mut by_owner: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for artefact in artefacts {
        by_owner.entry(artefact.owner()).or_default().push(artefact);
    }
    let mut gone = Vec::new();
    for (owner, artefacts) in &mut by_owner {
        let most = if owner.is_some() { KEPT_OF_OWNER } else { KEPT };
        artefacts.sort();
        let superfluous = artefacts.len().saturating_sub(most);
        gone.extend(artefacts.drain(..superfluous));
    }
    let bytes = |artefacts: &[Artefact]| artefacts.iter().map(|artefact| artefact.bytes).sum::<u64>();
    let mut without_owner = by_owner.remove(&None).unwrap_or_default();
    while bytes(&without_owner) > BYTES {
        gone.push(without_owner.remove(0));
    }
    while by_owner.values().map(|artefacts| bytes(artefacts)).sum::<u64>() > BYTES_OF_OWNERS
        && let Some(most) = by_owner.values_mut().max_by_key(|artefacts| bytes(artefacts))
    {
        gone.push(most.remove(0));
    }
    gone.into_iter().map(|artefact| artefact.path).collect()
}

/// Removes a file, unless another process has.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all; one that is mapped stays what it was.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Threads and processes may compile the same component at the same time.
    name.push(format!(
        ".{}-{:?}.tmp",
        std::process::id(),
        std::thread::current().id()
    ));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What can't be removed is no harm: it has no name that is looked for.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Makes a directory that only we can use, or makes sure that this one is.
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
            "others may use it (mode {:03o}), and what lies in it is run as it is: name a directory that isn't \
             there yet, or remove this one",
            metadata.mode() & 0o777
        ));
    }
    // Whoever owns it can write to it. A file that we make shows who we are.
    let probe = dir.join(format!(
        ".{}-{:?}.probe",
        std::process::id(),
        std::thread::current().id()
    ));
    let ours = File::create(&probe).and_then(|file| file.metadata());
    let _ = fs::remove_file(&probe);
    match ours {
        Ok(ours) if ours.uid() == metadata.uid() => Ok(()),
        Ok(_) => Err("it belongs to another user".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The same for the same input in every build, which the standard library's hashers
/// do not promise.
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
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn artefacts(dir: &Path) -> Artefacts {
        Artefacts::open(dir, &wasmtime::Engine::default()).expect("a private directory")
    }

    #[test]
    fn the_directory_is_private() {
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
    fn only_so_many_are_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let artefacts = artefacts(&dir.path().join("cache"));
        for n in 0..KEPT + 3 {
            artefacts
                .store(None, &Digest::of(&n.to_le_bytes()), b"code")
                .expect("stored");
        }
        assert_eq!(fs::read_dir(&artefacts.dir).expect("directory").count(), 2 * KEPT);
        // Nobody has those of another one thrown out.
        for n in 0..KEPT + 3 {
            artefacts
                .store(Some("a"), &Digest::of(&n.to_le_bytes()), b"code")
                .expect("stored");
        }
        let count = fs::read_dir(&artefacts.dir).expect("directory").count();
        assert_eq!(count, 2 * (KEPT + KEPT_OF_OWNER));
    }

    #[test]
    fn who_has_most_makes_room() {
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
        assert_eq!(superfluous(artefacts), expected);
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed() {
        let outer = tempfile::tempdir().expect("temporary directory");
        let dir = outer.path().join("cache");
        artefacts(&dir)
            .store(None, &Digest::of(b"kept"), b"code")
            .expect("stored");
        let file = |name: &str, age: Duration| {
            let file = File::create(dir.join(name)).expect("file");
            let then = std::time::SystemTime::now() - age;
            file.set_modified(then).expect("its time");
        };
        let (old, new) = (LEFT_OVER + Duration::from_secs(60), Duration::from_secs(1));
        for (name, age) in [
            ("a-0.cwasm.7-ThreadId(1).tmp", old),
            ("b-0.cwasm.8-ThreadId(1).tmp", new),
            (".7-ThreadId(1).probe", old),
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
        assert_eq!(left, ["b-0.cwasm.8-ThreadId(1).tmp", "other.txt"]);
        assert_eq!(fs::read_dir(&dir).expect("directory").count(), 4);
    }
}
