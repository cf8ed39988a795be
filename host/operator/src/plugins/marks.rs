//! Marks on components that are being tried, so that one that ends the operator is not tried for ever.
//!
//! A mark is made before a component is tried and taken off afterwards. One that is found at a start was left by a process
//! that has ended meanwhile: its component is a suspect, and tried once more with nothing beside it. A component that has
//! ended the operator twice is in quarantine, until the resource that asks for it is changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::kept::digits;
use super::resource::Resource;
use crate::newest;

/// How files end that stand for a trial, and those that hold what is known of a suspect.
const TRYING: &str = "trying";
const SUSPECT: &str = "suspect";

/// Who has ended the operator so often is in quarantine.
const CRASHES: usize = 2;

/// Lines of what is known of a suspect; it is in quarantine for all others then.
const MOST: usize = 200;

/// What is known of a component before it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Free,
    /// It may have ended the operator, and is tried alone.
    Suspect,
    /// It has ended the operator again and again, and is not tried.
    Quarantined,
}

/// A folder of marks; without one nothing is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Option<PathBuf>);

impl Marks {
    /// The marks in this folder, from which those of the process before are read.
    pub(super) fn open(folder: Option<PathBuf>) -> Self {
        let marks = Self(folder);
        if let Err(error) = marks.read_left() {
            warn!("what the operator tried when it ended can't be read: {error}");
        }
        marks
    }

    /// Turns marks that were left into suspicions.
    fn read_left(&self) -> io::Result<()> {
        let Some(folder) = self.0.as_ref().filter(|folder| folder.exists()) else {
            return Ok(());
        };
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let mut parts = name.split('.');
            if let (Some(digits), Some(uid), Some(TRYING), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            {
                let generation = fs::read_to_string(&path)?.trim().parse().unwrap_or_default();
                warn!("the operator ended while it tried a component with the digest {digits}");
                suspect(&folder.join(format!("{digits}.{SUSPECT}")), uid, generation)?;
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// What is known of the component with this digest, which `resource` asks for.
    pub(super) fn standing(&self, digest: &str, resource: &Resource) -> Standing {
        let Some(file) = self.suspicion(digest) else {
            return Standing::Free;
        };
        let Ok(known) = fs::read_to_string(&file) else {
            return Standing::Free;
        };
        let crashes: Vec<_> = known.lines().filter_map(|line| line.split_once(' ')).collect();
        if crashes.len() < CRASHES {
            return Standing::Suspect;
        }
        let generations = crashes.iter().filter(|(uid, _)| *uid == resource.uid);
        let newest = generations
            .filter_map(|(_, generation)| generation.parse::<i64>().ok())
            .max();
        match newest {
            Some(newest) if newest < resource.generation => Standing::Suspect,
            Some(_) => Standing::Quarantined,
            None => {
                // From now on a change of this one is told from what was there before.
                let noted = if crashes.len() < MOST {
                    suspect(&file, &resource.uid, resource.generation)
                } else {
                    Ok(())
                };
                if let Err(error) = noted {
                    warn!(plugin = %resource.id, "its quarantine can't be noted: {error}");
                }
                Standing::Quarantined
            }
        }
    }

    /// Marks the component with this digest as one that is tried for `resource`.
    pub(super) fn begin(&self, digest: &str, resource: &Resource) -> Option<Mark> {
        let suspicion = self.suspicion(digest)?;
        let uid = &resource.uid;
        if uid.is_empty()
            || !uid
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return None;
        }
        let trying = suspicion.with_extension(format!("{uid}.{TRYING}"));
        let made = suspicion
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| newest::write(&trying, resource.generation.to_string().as_bytes(), 0o600));
        match made {
            Ok(()) => Some(Mark { trying, suspicion }),
            Err(error) => {
                warn!(plugin = %resource.id, "it is tried without a mark, which would end a crash loop: {error}");
                None
            }
        }
    }

    fn suspicion(&self, digest: &str) -> Option<PathBuf> {
        let folder = self.0.as_ref()?;
        Some(folder.join(format!("{}.{SUSPECT}", digits(digest)?)))
    }
}

/// Notes that the component of this file may have ended the operator.
fn suspect(file: &Path, uid: &str, generation: i64) -> io::Result<()> {
    let mut known = fs::read_to_string(file).unwrap_or_default();
    known.push_str(&format!("{uid} {generation}\n"));
    newest::write(file, known.as_bytes(), 0o600)
}

/// A component that is being tried. What becomes of it, this process survives if it comes to drop the mark.
#[derive(Debug)]
pub(super) struct Mark {
    trying: PathBuf,
    suspicion: PathBuf,
}

impl Mark {
    /// The trial has come to an end, whatever its result is.
    pub(super) fn ended(self) {
        remove(&self.suspicion);
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        remove(&self.trying);
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!("{} can't be removed: {error}", path.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::DaskPlugin;
    use dask_operator_sources::digest;
    use serde_json::json;

    use super::*;

    fn resource(uid: &str, generation: i64) -> Resource {
        let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": uid, "generation": generation},
                            "spec": {"source": {}}});
        let object: DaskPlugin = serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
        Resource::of_namespace(object)
    }

    /// The operator ends while it tries this for that resource, and starts again.
    fn crash(folder: &Path, digest: &str, resource: &Resource) -> Marks {
        let marks = Marks::open(Some(folder.to_owned()));
        std::mem::forget(marks.begin(digest, resource));
        Marks::open(Some(folder.to_owned()))
    }

    #[test]
    fn what_ends_the_operator_twice_is_not_tried_until_its_resource_changes() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path().join("tried");
        let bad = digest(b"bad");
        let marks = crash(&folder, &bad, &resource("u", 1));
        assert_eq!(marks.standing(&bad, &resource("u", 1)), Standing::Suspect);
        assert_eq!(
            marks.standing(&digest(b"good"), &resource("u", 1)),
            Standing::Free
        );
        let marks = crash(&folder, &bad, &resource("u", 1));
        assert_eq!(marks.standing(&bad, &resource("u", 1)), Standing::Quarantined);
        assert_eq!(marks.standing(&bad, &resource("u", 2)), Standing::Suspect);
        // Another resource is in quarantine until it is changed too.
        assert_eq!(marks.standing(&bad, &resource("v", 1)), Standing::Quarantined);
        assert_eq!(marks.standing(&bad, &resource("v", 1)), Standing::Quarantined);
        assert_eq!(marks.standing(&bad, &resource("v", 2)), Standing::Suspect);
        Ok(())
    }

    #[test]
    fn who_was_only_beside_it_is_no_suspect_when_it_was_tried_alone() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let beside = digest(b"beside");
        let marks = crash(folder.path(), &beside, &resource("u", 1));
        assert_eq!(marks.standing(&beside, &resource("u", 1)), Standing::Suspect);
        let mark = marks.begin(&beside, &resource("u", 1));
        mark.unwrap_or_else(|| panic!("no mark")).ended();
        assert_eq!(marks.standing(&beside, &resource("u", 1)), Standing::Free);
        // An operator that is told to end takes its marks with it.
        drop(marks.begin(&beside, &resource("u", 1)));
        let marks = Marks::open(Some(folder.path().to_owned()));
        assert_eq!(marks.standing(&beside, &resource("u", 1)), Standing::Free);
        assert_eq!(fs::read_dir(folder.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn without_a_folder_nothing_is_known() {
        let marks = Marks::open(None);
        assert!(marks.begin(&digest(b"x"), &resource("u", 1)).is_none());
        assert_eq!(marks.standing(&digest(b"x"), &resource("u", 1)), Standing::Free);
    }
}
