//! Components in files.

use std::path::{Path, PathBuf};

use tokio::fs;

use crate::SourceError;

/// Reads a file that lies below one of these folders, links followed.
///
/// # Errors
///
/// When it lies elsewhere, can't be read or is larger than `limit` bytes.
pub async fn read(path: &Path, folders: &[PathBuf], limit: usize) -> Result<Vec<u8>, SourceError> {
    let outside = || SourceError::Outside {
        path: path.to_owned(),
        folders: folders.to_vec(),
    };
    let io = |error| SourceError::Io {
        path: path.to_owned(),
        error,
    };
    // Without a folder that it may be in, nothing is said about what exists.
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
    let size = fs::metadata(&real).await.map_err(io)?.len();
    if usize::try_from(size).is_ok_and(|size| size > limit) {
        return Err(SourceError::TooLarge {
            name: path.display().to_string(),
            limit,
        });
    }
    fs::read(&real).await.map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_files_below_the_folders_are_read() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let (inside, outside) = (dir.path().join("plugins"), dir.path().join("secret"));
        std::fs::create_dir(&inside)?;
        std::fs::write(&outside, b"secret")?;
        std::fs::write(inside.join("a.wasm"), b"0123456789")?;
        std::os::unix::fs::symlink(&outside, inside.join("link.wasm"))?;
        let folders = [inside.clone()];
        assert_eq!(read(&inside.join("a.wasm"), &folders, 10).await?, b"0123456789");
        for (path, limit, reason) in [
            (inside.join("a.wasm"), 9, "TooLarge"),
            (inside.join("b.wasm"), 10, "FileUnreadable"),
            (outside.clone(), 10, "FileOutsideFolder"),
            (inside.join("../secret"), 10, "FileOutsideFolder"),
            (inside.join("link.wasm"), 10, "FileOutsideFolder"),
            (PathBuf::from("plugins/a.wasm"), 10, "FileOutsideFolder"),
        ] {
            let error = read(&path, &folders, limit)
                .await
                .map(drop)
                .map_err(|error| error.reason());
            assert_eq!(error, Err(reason), "{}", path.display());
        }
        Ok(())
    }
}
