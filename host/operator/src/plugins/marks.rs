//! Marks on components that are being tried, so that one that ends the operator is not tried for ever.
//!
//! A mark is made before a component is tried and taken off afterwards. One that is found at a start was left by a process
//! that has ended meanwhile: its component is a suspect, and tried once more with nothing beside it. A component that has
//! ended the operator twice is in quarantine, until the resource that asks for it is changed. An administrator's is tried
//! again after an hour, too: it may only have been there.
//!
//! Whoever has a way to end the operator changes a byte or the resource, and has it tried again. So trials of a namespace
//! count together, whatever they were of: after one that ended the operator all others are made with nothing beside them
//! for an hour, and after the third one in an hour none is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dask_operator_core::gate::words::is_label;
use tracing::warn;

use super::kept::digits;
use super::resource::Resource;
use crate::newest;

/// How files end that stand for a trial, those that hold what is known of a suspect, and of the trials of a namespace.
const TRYING: &str = "trying";
const SUSPECT: &str = "suspect";
const NAMESPACE: &str = "namespace";

/// Who has ended the operator so often is in quarantine.
const CRASHES: usize = 2;

/// And so is a namespace whose plugins have together.
const CRASHES_OF_NAMESPACE: usize = 3;

/// How long that counts of a namespace, and how long an administrator's component is in quarantine.
const QUARANTINE: Duration = Duration::from_secs(3600);

/// What stands in place of a time where a resource has asked for a component that is in quarantine.
const ASKED: &str = "asked";

/// Lines of what is known of a suspect; it is in quarantine for all others then.
const MOST: usize = 200;

/// What is known of a component before it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Nothing.
    Free,
    /// It, or another one of its namespace, may have ended the operator, and it is tried alone.
    Suspect,
    /// It has ended the operator again and again, and is not tried.
    Quarantined,
    /// Those of its namespace have, and none of them is tried.
    NamespaceQuarantined,
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
        let now = seconds(SystemTime::now());
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let mut parts = name.split('.');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(digits), Some(uid), Some(TRYING), None) => {
                    let said = fs::read_to_string(&path)?;
                    let (generation, namespace) = said.trim().split_once(' ').unwrap_or((said.trim(), ""));
                    warn!("the operator ended while it tried a component with the digest {digits}");
                    let line = format!("{uid} {generation} {now}");
                    note(&folder.join(format!("{digits}.{SUSPECT}")), &line)?;
                    if is_label(namespace) {
                        note(&folder.join(format!("{namespace}.{NAMESPACE}")), &now.to_string())?;
                    }
                    fs::remove_file(&path)?;
                }
                (Some(_), Some(NAMESPACE), None, None) if crashes_of_namespace(&path, now) == 0 => {
                    fs::remove_file(&path)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is known of the component with this digest, which `resource` asks for.
    pub(super) fn standing(&self, digest: &str, resource: &Resource) -> Standing {
        self.standing_at(digest, resource, SystemTime::now())
    }

    fn standing_at(&self, digest: &str, resource: &Resource, now: SystemTime) -> Standing {
        let (Some(folder), Some(file)) = (&self.0, self.suspicion(digest)) else {
            return Standing::Free;
        };
        let now = seconds(now);
        let of_namespace = match &resource.id.namespace {
            Some(namespace) => crashes_of_namespace(&folder.join(format!("{namespace}.{NAMESPACE}")), now),
            None => 0,
        };
        let of_namespace = match of_namespace {
            0 => Standing::Free,
            1..CRASHES_OF_NAMESPACE => Standing::Suspect,
            _ => Standing::NamespaceQuarantined,
        };
        of_namespace.max(of_component(&file, resource, now))
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
        let namespace = resource.id.namespace.as_deref().unwrap_or_default();
        let tried = format!("{} {namespace}", resource.generation);
        let made = suspicion
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| newest::write(&trying, tried.as_bytes(), 0o600));
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

/// What the file of a suspect says of it.
fn of_component(file: &Path, resource: &Resource, now: u64) -> Standing {
    let Ok(known) = fs::read_to_string(file) else {
        return Standing::Free;
    };
    let lines: Vec<_> = known.lines().filter_map(Line::read).collect();
    let crashes: Vec<_> = lines.iter().filter_map(|line| line.crashed).collect();
    if crashes.len() < CRASHES {
        return Standing::Suspect;
    }
    if resource.id.namespace.is_none() && !crashes.iter().any(|crashed| is_recent(*crashed, now)) {
        return Standing::Suspect;
    }
    let own = lines.iter().filter(|line| line.uid == resource.uid);
    match own.map(|line| line.generation).max() {
        Some(newest) if newest < resource.generation => Standing::Suspect,
        Some(_) => Standing::Quarantined,
        None => {
            // From now on a change of this one is told from what was there before.
            let noted = if lines.len() < MOST {
                note(file, &format!("{} {} {ASKED}", resource.uid, resource.generation))
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

/// A line of the file of a suspect.
struct Line<'a> {
    /// The resource that asked for it.
    uid: &'a str,
    generation: i64,
    /// When the operator was found to have ended while it was tried; none where it was only asked for.
    crashed: Option<u64>,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let (uid, generation) = (words.next()?, words.next()?);
        let time = words.next().unwrap_or_default();
        Some(Self {
            uid,
            generation: generation.parse().unwrap_or_default(),
            crashed: (time != ASKED).then(|| time.parse().unwrap_or_default()),
        })
    }
}

/// How often the operator has ended of late while it tried something of a namespace, as its file says.
fn crashes_of_namespace(file: &Path, now: u64) -> usize {
    let times = fs::read_to_string(file).unwrap_or_default();
    let times = times.lines().filter_map(|time| time.parse().ok());
    times.filter(|time| is_recent(*time, now)).count()
}

fn is_recent(time: u64, now: u64) -> bool {
    now.saturating_sub(time) < QUARANTINE.as_secs()
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Adds a line to a file.
fn note(file: &Path, line: &str) -> io::Result<()> {
    let mut known = fs::read_to_string(file).unwrap_or_default();
    known.push_str(line);
    known.push('\n');
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

    /// The same of the cluster.
    fn of_cluster(uid: &str, generation: i64) -> Resource {
        let mut resource = resource(uid, generation);
        resource.id.namespace = None;
        resource
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
        let marks = crash(&folder, &bad, &of_cluster("u", 1));
        assert_eq!(marks.standing(&bad, &of_cluster("u", 1)), Standing::Suspect);
        assert_eq!(
            marks.standing(&digest(b"good"), &of_cluster("u", 1)),
            Standing::Free
        );
        let marks = crash(&folder, &bad, &of_cluster("u", 1));
        assert_eq!(marks.standing(&bad, &of_cluster("u", 1)), Standing::Quarantined);
        assert_eq!(marks.standing(&bad, &of_cluster("u", 2)), Standing::Suspect);
        // Another resource is in quarantine until it is changed too.
        for other in [of_cluster("v", 1), resource("w", 1)] {
            assert_eq!(marks.standing(&bad, &other), Standing::Quarantined);
            assert_eq!(marks.standing(&bad, &other), Standing::Quarantined);
            let changed = Resource {
                generation: 2,
                ..other
            };
            assert_eq!(marks.standing(&bad, &changed), Standing::Suspect);
        }
        Ok(())
    }

    /// It may be something else that ends the operator, and its policy holds a whole cluster.
    #[test]
    fn what_is_an_administrators_is_tried_again_after_a_while() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let bad = digest(b"bad");
        crash(folder.path(), &bad, &of_cluster("u", 1));
        let marks = crash(folder.path(), &bad, &of_cluster("u", 1));
        let later = SystemTime::now() + QUARANTINE + Duration::from_secs(1);
        assert_eq!(marks.standing(&bad, &of_cluster("u", 1)), Standing::Quarantined);
        assert_eq!(
            marks.standing_at(&bad, &of_cluster("u", 1), later),
            Standing::Suspect
        );
        // Of a tenant's, nobody but the namespace waits for it.
        assert_eq!(
            marks.standing_at(&bad, &resource("v", 1), later),
            Standing::Quarantined
        );
        Ok(())
    }

    /// Neither a change of the resource, nor another one, nor another byte has the operator end again.
    #[test]
    fn a_namespace_ends_the_operator_three_times_in_an_hour_at_most() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let of = |number: u8| (digest(&[number]), resource(&format!("u{number}"), number.into()));
        for number in 0..3 {
            let (digest, asks) = of(number);
            let marks = crash(folder.path(), &digest, &asks);
            let (next, asks) = of(number + 1);
            let expected = if number < 2 {
                Standing::Suspect
            } else {
                Standing::NamespaceQuarantined
            };
            assert_eq!(marks.standing(&next, &asks), expected, "after {number}");
        }
        let marks = Marks::open(Some(folder.path().to_owned()));
        let (next, asks) = of(3);
        let mut neighbour = asks.clone();
        neighbour.id.namespace = Some("m".to_owned());
        for other in [neighbour, of_cluster("u", 1)] {
            assert_eq!(marks.standing(&next, &other), Standing::Free);
        }
        let later = SystemTime::now() + QUARANTINE + Duration::from_secs(1);
        assert_eq!(marks.standing_at(&next, &asks, later), Standing::Free);
        Ok(())
    }

    #[test]
    fn who_was_only_beside_it_is_no_suspect_when_it_was_tried_alone() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let beside = digest(b"beside");
        let marks = crash(folder.path(), &beside, &of_cluster("u", 1));
        assert_eq!(marks.standing(&beside, &of_cluster("u", 1)), Standing::Suspect);
        let mark = marks.begin(&beside, &of_cluster("u", 1));
        mark.unwrap_or_else(|| panic!("no mark")).ended();
        assert_eq!(marks.standing(&beside, &of_cluster("u", 1)), Standing::Free);
        // An operator that is told to end takes its marks with it.
        drop(marks.begin(&beside, &of_cluster("u", 1)));
        let marks = Marks::open(Some(folder.path().to_owned()));
        assert_eq!(marks.standing(&beside, &of_cluster("u", 1)), Standing::Free);
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
