//! Records of components that are being tried, so that a component that ends the operator is not tried forever.
//!
//! A record is created before a trial and removed afterwards. A record that is found at a start was left by a process that ended
//! during the trial: its component is a suspect, and is tried once more, alone. A component that ended the
//! operator twice is in quarantine until its resource is changed. A component of the cluster is also tried again after an hour,
//! because the crash may have had another cause.
//!
//! A tenant who has found a way to end the operator can change a byte or the resource to have it tried again. So the trials of a
//! namespace count together, whatever component they were of: after one that ended the operator, all others are made alone for
//! an hour, and after the third one within an hour none is made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dask_operator_core::rfc1123::is_label;
use tracing::warn;

use crate::newest;
use crate::plugins::load::cache::digits;
use crate::plugins::resource::Resource;

/// File name extensions: a trial, the crashes of a suspect, and the crashes of a namespace.
const TRYING: &str = "trying";
const SUSPECT: &str = "suspect";
const NAMESPACE: &str = "namespace";

/// Number of crashes after which a component is in quarantine.
const CRASHES: usize = 2;

/// Number of crashes after which a namespace is in quarantine.
const CRASHES_OF_NAMESPACE: usize = 3;

/// Time for which a crash counts against a namespace, and for which a component of the cluster is in quarantine.
const QUARANTINE: Duration = Duration::from_secs(3600);

/// Word in place of a time on the line of a resource that requested a component in quarantine.
const ASKED: &str = "asked";

/// Number of lines in the file of a suspect. Beyond it, no more resources are added, and the component stays in quarantine for
/// them.
const MOST: usize = 200;

/// History of a component before a trial: whether it may have ended the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CrashHistory {
    /// There were no crashes.
    Clean,
    /// The component, or another one of its namespace, may have ended the operator. It is tried alone.
    Suspect,
    /// The component ended the operator repeatedly and is not tried.
    Quarantined,
    /// Components of the namespace ended the operator repeatedly, and none of them is tried.
    NamespaceQuarantined,
}

/// Folder of records; no crash is recorded if it is `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct CrashRecords(Option<PathBuf>);

impl CrashRecords {
    /// Opens the records in this folder, and reads those that the former process left.
    pub(super) fn open(folder: Option<PathBuf>) -> Self {
        let records = Self(folder);
        if let Err(error) = records.read_leftovers() {
            warn!("can't read the records of the former process: {error}");
        }
        records
    }

    /// Records a crash for each trial that did not end, and removes its record. Also removes files that were left over by
    /// interrupted writes.
    fn read_leftovers(&self) -> io::Result<()> {
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
            if newest::is_temporary(&name) {
                fs::remove_file(&path)?;
                continue;
            }
            let mut parts = name.split('.');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(digits), Some(uid), Some(TRYING), None) => {
                    let said = fs::read_to_string(&path)?;
                    let (generation, namespace) = said.trim().split_once(' ').unwrap_or((said.trim(), ""));
                    warn!("the operator ended during a trial of the component with the digest {digits}");
                    let line = format!("{uid} {generation} {now}");
                    append(&folder.join(format!("{digits}.{SUSPECT}")), &line)?;
                    if is_label(namespace) {
                        append(&folder.join(format!("{namespace}.{NAMESPACE}")), &now.to_string())?;
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

    /// Returns the history of the component with this digest, which `resource` requests.
    pub(super) fn history(&self, digest: &str, resource: &Resource) -> CrashHistory {
        self.history_at(digest, resource, SystemTime::now())
    }

    fn history_at(&self, digest: &str, resource: &Resource, now: SystemTime) -> CrashHistory {
        let (Some(folder), Some(file)) = (&self.0, self.suspect_file(digest)) else {
            return CrashHistory::Clean;
        };
        let now = seconds(now);
        let of_namespace = match &resource.id.namespace {
            Some(namespace) => crashes_of_namespace(&folder.join(format!("{namespace}.{NAMESPACE}")), now),
            None => 0,
        };
        let of_namespace = match of_namespace {
            0 => CrashHistory::Clean,
            1..CRASHES_OF_NAMESPACE => CrashHistory::Suspect,
            _ => CrashHistory::NamespaceQuarantined,
        };
        of_namespace.max(of_component(&file, resource, now))
    }

    /// Records that the component with this digest is being tried for `resource`. `None` if that is impossible.
    pub(super) fn begin(&self, digest: &str, resource: &Resource) -> Option<TrialRecord> {
        let suspicion = self.suspect_file(digest)?;
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
            Ok(()) => Some(TrialRecord { trying, suspicion }),
            Err(error) => {
                warn!(plugin = %resource.id, "can't record the trial of the component; if it ends the operator, it is tried again at the next start: {error}");
                None
            }
        }
    }

    fn suspect_file(&self, digest: &str) -> Option<PathBuf> {
        let folder = self.0.as_ref()?;
        Some(folder.join(format!("{}.{SUSPECT}", digits(digest)?)))
    }
}

/// Returns the history of a component according to its suspect file.
fn of_component(file: &Path, resource: &Resource, now: u64) -> CrashHistory {
    let Ok(known) = fs::read_to_string(file) else {
        return CrashHistory::Clean;
    };
    let lines: Vec<_> = known.lines().filter_map(Line::read).collect();
    let crashes: Vec<_> = lines.iter().filter_map(|line| line.crashed).collect();
    if crashes.len() < CRASHES {
        return CrashHistory::Suspect;
    }
    if resource.id.namespace.is_none() && !crashes.iter().any(|crashed| is_recent(*crashed, now)) {
        return CrashHistory::Suspect;
    }
    let own = lines.iter().filter(|line| line.uid == resource.uid);
    match own.map(|line| line.generation).max() {
        Some(newest) if newest < resource.generation => CrashHistory::Suspect,
        Some(_) => CrashHistory::Quarantined,
        None => {
            // This line makes it possible to detect a later change of the resource.
            let appended = if lines.len() < MOST {
                append(file, &format!("{} {} {ASKED}", resource.uid, resource.generation))
            } else {
                Ok(())
            };
            if let Err(error) = appended {
                warn!(plugin = %resource.id, "can't record the quarantine: {error}");
            }
            CrashHistory::Quarantined
        }
    }
}

/// Line of a suspect file.
struct Line<'a> {
    /// UID of the resource that requested the component.
    uid: &'a str,
    generation: i64,
    /// Time at which the crash was found, in seconds since 1970. `None` if the resource only requested the component.
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

/// Returns the number of recent crashes during trials of a namespace, according to its file.
fn crashes_of_namespace(file: &Path, now: u64) -> usize {
    let times = fs::read_to_string(file).unwrap_or_default();
    let times = times.lines().filter_map(|time| time.parse().ok());
    times.filter(|time| is_recent(*time, now)).count()
}

fn is_recent(time: u64, now: u64) -> bool {
    now.saturating_sub(time) < QUARANTINE.as_secs()
}

/// Converts to seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Appends a line to a file.
fn append(file: &Path, line: &str) -> io::Result<()> {
    let mut known = fs::read_to_string(file).unwrap_or_default();
    known.push_str(line);
    known.push('\n');
    newest::write(file, known.as_bytes(), 0o600)
}

/// Record of a trial that is running. If it is dropped, this process has survived the trial.
#[derive(Debug)]
pub(super) struct TrialRecord {
    trying: PathBuf,
    suspicion: PathBuf,
}

impl TrialRecord {
    /// Ends the trial, whatever its result is, and clears the suspicion.
    pub(super) fn survived(self) {
        remove(&self.suspicion);
    }
}

impl Drop for TrialRecord {
    fn drop(&mut self) {
        remove(&self.trying);
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!("can't remove {}: {error}", path.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugins::testing::{self, digest};

    fn resource(uid: &str, generation: i64) -> Resource {
        let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": uid, "generation": generation},
                            "spec": {"source": {}}});
        testing::of_namespace(object)
    }

    /// A resource of the cluster.
    fn of_cluster(uid: &str, generation: i64) -> Resource {
        let mut resource = resource(uid, generation);
        resource.id.namespace = None;
        resource
    }

    /// The operator ends during a trial of this component for this resource, and starts again.
    fn crash(folder: &Path, digest: &str, resource: &Resource) -> CrashRecords {
        let records = CrashRecords::open(Some(folder.to_owned()));
        std::mem::forget(records.begin(digest, resource));
        CrashRecords::open(Some(folder.to_owned()))
    }

    #[test]
    fn two_crashes_quarantine_a_component_until_its_resource_changes() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path().join("tried");
        let bad = digest(b"bad");
        let records = crash(&folder, &bad, &of_cluster("u", 1));
        assert_eq!(records.history(&bad, &of_cluster("u", 1)), CrashHistory::Suspect);
        assert_eq!(
            records.history(&digest(b"good"), &of_cluster("u", 1)),
            CrashHistory::Clean
        );
        let records = crash(&folder, &bad, &of_cluster("u", 1));
        assert_eq!(
            records.history(&bad, &of_cluster("u", 1)),
            CrashHistory::Quarantined
        );
        assert_eq!(records.history(&bad, &of_cluster("u", 2)), CrashHistory::Suspect);
        // Another resource is in quarantine until it is changed too.
        for other in [of_cluster("v", 1), resource("w", 1)] {
            assert_eq!(records.history(&bad, &other), CrashHistory::Quarantined);
            assert_eq!(records.history(&bad, &other), CrashHistory::Quarantined);
            let changed = Resource {
                generation: 2,
                ..other
            };
            assert_eq!(records.history(&bad, &changed), CrashHistory::Suspect);
        }
        Ok(())
    }

    /// The crash may have another cause, and a policy of the cluster blocks all namespaces.
    #[test]
    fn a_component_of_the_cluster_is_tried_again_after_an_hour() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let bad = digest(b"bad");
        crash(folder.path(), &bad, &of_cluster("u", 1));
        let records = crash(folder.path(), &bad, &of_cluster("u", 1));
        let later = SystemTime::now() + QUARANTINE + Duration::from_secs(1);
        assert_eq!(
            records.history(&bad, &of_cluster("u", 1)),
            CrashHistory::Quarantined
        );
        assert_eq!(
            records.history_at(&bad, &of_cluster("u", 1), later),
            CrashHistory::Suspect
        );
        // A quarantined component of a tenant affects only its own namespace.
        assert_eq!(
            records.history_at(&bad, &resource("v", 1), later),
            CrashHistory::Quarantined
        );
        Ok(())
    }

    /// A changed resource, another resource or another byte does not cause further crashes.
    #[test]
    fn a_namespace_ends_the_operator_at_most_three_times_in_an_hour() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let of = |number: u8| (digest(&[number]), resource(&format!("u{number}"), number.into()));
        for number in 0..3 {
            let (digest, asks) = of(number);
            let records = crash(folder.path(), &digest, &asks);
            let (next, asks) = of(number + 1);
            let expected = if number < 2 {
                CrashHistory::Suspect
            } else {
                CrashHistory::NamespaceQuarantined
            };
            assert_eq!(records.history(&next, &asks), expected, "after {number}");
        }
        let records = CrashRecords::open(Some(folder.path().to_owned()));
        let (next, asks) = of(3);
        let mut neighbour = asks.clone();
        neighbour.id.namespace = Some("m".to_owned());
        for other in [neighbour, of_cluster("u", 1)] {
            assert_eq!(records.history(&next, &other), CrashHistory::Clean);
        }
        let later = SystemTime::now() + QUARANTINE + Duration::from_secs(1);
        assert_eq!(records.history_at(&next, &asks, later), CrashHistory::Clean);
        Ok(())
    }

    #[test]
    fn a_successful_trial_clears_the_suspicion() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let beside = digest(b"beside");
        let records = crash(folder.path(), &beside, &of_cluster("u", 1));
        assert_eq!(
            records.history(&beside, &of_cluster("u", 1)),
            CrashHistory::Suspect
        );
        let trial = records.begin(&beside, &of_cluster("u", 1));
        trial.unwrap_or_else(|| panic!("no record")).survived();
        assert_eq!(records.history(&beside, &of_cluster("u", 1)), CrashHistory::Clean);
        // An operator that is stopped removes its records.
        drop(records.begin(&beside, &of_cluster("u", 1)));
        let records = CrashRecords::open(Some(folder.path().to_owned()));
        assert_eq!(records.history(&beside, &of_cluster("u", 1)), CrashHistory::Clean);
        assert_eq!(fs::read_dir(folder.path())?.count(), 0);
        Ok(())
    }

    #[test]
    fn without_a_folder_nothing_is_marked() {
        let records = CrashRecords::open(None);
        assert!(records.begin(&digest(b"x"), &resource("u", 1)).is_none());
        assert_eq!(
            records.history(&digest(b"x"), &resource("u", 1)),
            CrashHistory::Clean
        );
    }
}
