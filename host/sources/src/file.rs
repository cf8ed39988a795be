//! Components in files below allowed folders.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::AsyncReadExt as _;

use crate::SourceError;

/// Reads a file below one of these folders. Symbolic links are resolved before the check.
///
/// # Errors
///
/// Returns an error if the file is outside of the folders, is not a regular file, can't be read or is larger than `limit`
/// bytes.
pub async fn read(path: &Path, folders: &[PathBuf], limit: usize) -> Result<Vec<u8>, SourceError> {
    let outside = || SourceError::Outside {
        path: path.to_owned(),
        folders: folders.to_vec(),
    };
    let io = |error| SourceError::Io {
        path: path.to_owned(),
        error,
    };
    // Checks the path before any access, so that the error does not reveal which files exist outside of the folders.
    if !path.is_absolute() || !folders.iter().any(|folder| path.starts_with(folder)) {
        return Err(outside());
    }
    let real = fs::canonicalize(path).await.map_err(io)?;
    let mut inside = false;
    for folder in folders {
        inside |= fs::canonicalize(folder)
            .await
            .is_ok_and(|folder| real.starts_with(folder));
    }
    if !inside {
        return Err(outside());
    }
    // Opening a pipe would block until another process writes to it, and a device has no end.
    if !fs::metadata(&real).await.map_err(io)?.is_file() {
        return Err(io(io::Error::other(
            "not a regular file: name a file that contains a component",
        )));
    }
    // The read is limited because the file may grow in the meantime.
    let mut file = File::open(&real).await.map_err(io)?.take(limit as u64 + 1);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await.map_err(io)?;
    if bytes.len() > limit {
        return Err(SourceError::TooLarge {
            name: path.display().to_string(),
            limit,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_only_files_below_the_folders() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let (inside, outside) = (dir.path().join("plugins"), dir.path().join("secret"));
        std::fs::create_dir(&inside)?;
        std::fs::write(&outside, b"secret")?;
        std::fs::write(inside.join("a.wasm"), b"0123456789")?;
        std::os::unix::fs::symlink(&outside, inside.join("link.wasm"))?;
        let _socket = std::os::unix::net::UnixListener::bind(inside.join("socket.wasm"))?;
        let folders = [inside.clone()];
        assert_eq!(read(&inside.join("a.wasm"), &folders, 10).await?, b"0123456789");
        for (path, limit, reason) in [
            (inside.join("a.wasm"), 9, "TooLarge"),
            (inside.join("b.wasm"), 10, "FileUnreadable"),
            (inside.clone(), 10, "FileUnreadable"),
            (inside.join("socket.wasm"), 10, "FileUnreadable"),
            (outside.clone(), 10, "FileOutsideFolder"),
            (inside.join("../secret"), 10, "FileOutsideFolder"),
            (inside.join("link.wasm"), 10, "FileOutsideFolder"),
            (PathBuf::from("plugins/a.wasm"), 10, "FileOutsideFolder"),
        ] {
            let error = read(&path, &folders, limit)
                .await
                .map(drop)
                .map_err(|error| error.reason().as_str());
            assert_eq!(error, Err(reason), "{}", path.display());
        }
        Ok(())
    }

    /// The limit also applies to files that report no size or a false one.
    #[tokio::test]
    async fn reads_no_more_than_the_limit() {
        let folders = [PathBuf::from("/proc/self")];
        let path = Path::new("/proc/self/status");
        let read = read(path, &folders, 10)
            .await
            .map_err(|error| error.reason().as_str());
        assert_eq!(read, Err("TooLarge"));
    }
}
