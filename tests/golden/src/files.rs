//! Access to golden files: finds, compares and records them.

use std::fs;
use std::path::{Path, PathBuf};

use similar::TextDiff;

/// Returns the path of a folder of this crate.
#[must_use]
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns the inputs in a folder in the order of their names, without settings files.
///
/// # Errors
///
/// Returns an error if the folder cannot be read.
pub fn inputs(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut inputs: Vec<PathBuf> = paths
        .filter(|path| !path.to_string_lossy().ends_with(".settings.yaml"))
        .collect();
    inputs.sort();
    Ok(inputs)
}

/// Compares a golden file with the actual text and returns their differences, or `None` if there are none. If `UPDATE_GOLDEN`
/// is set, the text is written to the file instead, and only an error of that is returned.
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
        diff.unified_diff().header(&name, "actual").to_string()
    })
}

/// Returns the golden files without an input.
///
/// # Errors
///
/// Returns an error if a folder cannot be read.
pub fn orphans(inputs_folder: &Path, golden_folder: &Path) -> Result<Vec<PathBuf>, String> {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_owned());
    let stems: Vec<_> = inputs(inputs_folder)?.iter().map(stem).collect();
    Ok(inputs(golden_folder)?
        .into_iter()
        .filter(|golden| !stems.contains(&stem(golden)))
        .collect())
}
