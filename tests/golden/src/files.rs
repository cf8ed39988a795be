//! Golden files: found, compared, recorded.

use std::fs;
use std::path::{Path, PathBuf};

use similar::TextDiff;

/// A folder of this crate.
#[must_use]
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The inputs in a folder, in the order of their names.
///
/// # Errors
///
/// When the folder can't be read.
pub fn inputs(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut inputs: Vec<PathBuf> = paths
        .filter(|path| !path.to_string_lossy().ends_with(".settings.yaml"))
        .collect();
    inputs.sort();
    Ok(inputs)
}

/// What is different between a golden file and what came out; nothing where they are the same, or where
/// `UPDATE_GOLDEN` asks to record.
#[must_use]
pub fn compare(golden: &Path, actual: &str) -> Option<String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(golden, actual)
            .err()
            .map(|error| format!("{}: {error}", golden.display()));
    }
    let expected = fs::read_to_string(golden).unwrap_or_default();
    let name = golden.display().to_string();
    (expected != actual).then(|| {
        let diff = TextDiff::from_lines(expected.as_str(), actual);
        diff.unified_diff().header(&name, "what came out").to_string()
    })
}

/// Golden files that no input has any more.
///
/// # Errors
///
/// When a folder can't be read.
pub fn orphans(inputs_folder: &Path, golden_folder: &Path) -> Result<Vec<PathBuf>, String> {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_owned());
    let stems: Vec<_> = inputs(inputs_folder)?.iter().map(stem).collect();
    Ok(inputs(golden_folder)?
        .into_iter()
        .filter(|golden| !stems.contains(&stem(golden)))
        .collect())
}
