//! Recording of requests for plugin authors: the newest ones are written to files that `dask-operator plugin run`
//! reads.

use std::path::{Path, PathBuf};
use std::{fs, io};

use dask_operator_runtime::contract::Observation;
use tracing::warn;

use crate::newest;

/// Maximum number of files. The oldest are removed first.
const MAX_FILES: usize = 1000;

/// Maximum length of a file name in bytes, without its extension.
const MAX_NAME: usize = 200;

/// Records the newest request of each kind about each Dask resource in a folder. Without a folder, nothing is recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording(Option<PathBuf>);

impl Recording {
    /// Records requests in this folder, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the folder can't be created.
    pub(crate) fn new(folder: Option<PathBuf>) -> io::Result<Self> {
        if let Some(folder) = &folder {
            fs::create_dir_all(folder)?;
        }
        Ok(Self(folder))
    }

    /// Returns whether anything is recorded.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records a request to the webhook, an `AdmissionReview`. `operation` is `create`, `update` or `delete`. Blocks.
    pub(crate) fn admission(&self, kind: &str, namespace: &str, name: &str, operation: &str, review: &[u8]) {
        self.record(&[namespace, name, kind, operation], review);
    }

    /// Records the observation of a component before it plans. Blocks.
    pub(crate) fn observation(&self, kind: &str, namespace: &str, name: &str, observation: &Observation) {
        if self.is_on() {
            match serde_json::to_vec(observation) {
                Ok(text) => self.record(&[namespace, name, kind, "observation"], &text),
                Err(error) => warn!("an observation can't be written: {error}"),
            }
        }
    }

    fn record(&self, words: &[&str], content: &[u8]) {
        if let Some(folder) = &self.0
            && let Err(error) = store(folder, &file_name(words), content)
        {
            warn!("a request can't be recorded in {}: {error}", folder.display());
        }
    }
}

/// Returns a file name that can't leave its folder, whatever `words` are.
fn file_name(words: &[&str]) -> String {
    let replace = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() || letter == '-' => letter,
        '.' => '.',
        _ => '_',
    };
    let words = words
        .iter()
        .map(|word| word.chars().map(replace).collect::<String>());
    let mut name = words.collect::<Vec<_>>().join("_");
    // The beginning is least important: the kind of the resource and of the request are at the end.
    if name.len() > MAX_NAME {
        name.drain(..name.len() - MAX_NAME);
    }
    format!("{name}.json").trim_start_matches('.').to_owned()
}

fn store(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let path = folder.join(name);
    let is_new = !path.exists();
    // Manifests may be confidential, so only the owner may read the files.
    newest::write(&path, content, 0o600)?;
    if is_new {
        newest::keep(folder, ".json", MAX_FILES, u64::MAX)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&["team-a", "c.1", "DaskCluster", "create"], "team-a_c.1_DaskCluster_create.json")]
    #[case(&["..", "../../etc/passwd", "DaskCluster", "create"], "_.._.._etc_passwd_DaskCluster_create.json")]
    #[case(&["", "", "DaskCluster", "create"], "__DaskCluster_create.json")]
    fn file_names_stay_in_their_folder(#[case] words: &[&str], #[case] expected: &str) {
        assert_eq!(file_name(words), expected);
        assert!(
            Path::new(expected)
                .file_name()
                .is_some_and(|name| name == expected)
        );
    }

    #[test]
    fn long_names_keep_their_end() {
        let name = file_name(&[&"n".repeat(63), &"x".repeat(253), "DaskCluster", "create"]);
        assert!(name.len() <= MAX_NAME + ".json".len() && name.ends_with("xx_DaskCluster_create.json"));
    }

    #[test]
    fn only_the_newest_request_is_stored_and_only_its_owner_can_read_it() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path().join("requests");
        let recording = Recording::new(Some(folder.clone()))?;
        recording.admission("DaskJob", "a", "j", "create", b"one");
        recording.admission("DaskJob", "a", "j", "create", b"two");
        recording.admission("DaskJob", "a", "j", "update", b"three");
        let file = folder.join("a_j_DaskJob_create.json");
        assert_eq!(fs::read(&file)?, b"two");
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder)?.count(), 2, "and nothing unfinished");
        Ok(())
    }

    #[test]
    fn the_number_of_files_is_limited() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let recording = Recording::new(Some(folder.path().to_owned()))?;
        for number in 0..MAX_FILES + 10 {
            fs::write(folder.path().join(format!("a_{number}.json")), "")?;
        }
        recording.admission("DaskJob", "a", "j", "create", b"new");
        assert_eq!(fs::read_dir(folder.path())?.count(), MAX_FILES);
        assert!(folder.path().join("a_j_DaskJob_create.json").exists());
        Recording::default().admission("DaskJob", "a", "j", "create", b"nowhere");
        Ok(())
    }
}
