//! Folders in which only the newest files are stored.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

/// Prefix of the name of a file that is being written. The file's name and random letters follow.
const TEMPORARY_PREFIX: &str = ".writing-";

/// Age at which such a file is regarded as left over by a killed process.
const TEMPORARY_MAX_AGE: Duration = Duration::from_secs(3600);

/// Returns whether a file with this name is being written, or was left over by an interrupted write.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX)
}

/// Writes a file atomically, with these permissions (`0o600`).
///
/// # Errors
///
/// Returns an error if it can't be written.
pub(crate) fn write(path: &Path, content: &[u8], rights: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut temporary = tempfile::Builder::new()
        .prefix(&format!("{TEMPORARY_PREFIX}{name}."))
        .permissions(Permissions::from_mode(rights))
        .tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    temporary.write_all(content)?;
    temporary.persist(path)?;
    Ok(())
}

/// Removes the oldest files of a folder whose names end with `end`, until there are at most `most` of them with `bytes`
/// bytes together. Also removes files that were left over by interrupted writes.
///
/// # Errors
///
/// Returns an error if the files can't be read or removed.
pub(crate) fn keep(folder: &Path, end: &str, most: usize, bytes: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(end) {
            // Another process has removed the file meanwhile.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            files.push((metadata.modified()?, entry.path(), metadata.len()));
        } else if is_temporary(&name)
            && let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified())
            && modified.elapsed().is_ok_and(|age| age > TEMPORARY_MAX_AGE)
        {
            fs::remove_file(entry.path())?;
        }
    }
    files.sort();
    let mut count = files.len();
    let mut size: u64 = files.iter().map(|(_, _, size)| size).sum();
    for (_, path, of_file) in files {
        if count <= most && size <= bytes {
            break;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        count -= 1;
        size -= of_file;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_oldest_files_are_removed_and_unrelated_files_stay() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path();
        for (name, age) in [
            ("old.json", 2),
            ("older.json", 3),
            ("new.json", 1),
            ("mine.txt", 4),
            (".writing-older.json.Ab3dEf", 2 * 3600),
            (".writing-new.json.Ab3dEf", 1),
        ] {
            let path = folder.join(name);
            write(&path, b"1", 0o600)?;
            let then = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().write(true).open(&path)?.set_modified(then)?;
        }
        keep(folder, ".json", 2, u64::MAX)?;
        let mut left: Vec<_> = fs::read_dir(folder)?
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        left.sort();
        assert_eq!(
            left,
            [".writing-new.json.Ab3dEf", "mine.txt", "new.json", "old.json"]
        );
        keep(folder, ".json", 2, 1)?;
        assert!(
            !folder.join("old.json").exists(),
            "both files together have two bytes"
        );
        let path = folder.join("new.json");
        write(&path, b"2", 0o600)?;
        assert_eq!(fs::read(&path)?, b"2");
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        Ok(())
    }
}
