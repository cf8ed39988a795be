//! Folders of files of which the newest are kept.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file that others see whole or not at all, with these rights (`0o600`).
///
/// # Errors
///
/// When it can't be written.
pub(crate) fn write(path: &Path, content: &[u8], rights: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(rights)
        .open(&temporary)?;
    file.write_all(content)?;
    fs::rename(&temporary, path)
}

/// Removes the oldest of a folder's files that end so, until there are `most` of them.
///
/// # Errors
///
/// When they can't be read or removed.
pub(crate) fn keep(folder: &Path, end: &str, most: usize) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(end) {
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    files.sort();
    let superfluous = files.len().saturating_sub(most);
    for (_, path) in files.drain(..superfluous) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_oldest_go_and_what_is_somebody_elses_stays() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let folder = folder.path();
        for (name, age) in [
            ("old.json", 2),
            ("older.json", 3),
            ("new.json", 1),
            ("mine.txt", 4),
        ] {
            let path = folder.join(name);
            write(&path, b"1", 0o600)?;
            let then = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().write(true).open(&path)?.set_modified(then)?;
        }
        keep(folder, ".json", 2)?;
        let mut left: Vec<_> = fs::read_dir(folder)?
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["mine.txt", "new.json", "old.json"]);
        let path = folder.join("new.json");
        write(&path, b"2", 0o600)?;
        assert_eq!(fs::read(&path)?, b"2");
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        Ok(())
    }
}
