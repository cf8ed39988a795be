//! Access to golden files: finds, compares and records them.

use std::fs;
use std::path::{Path, PathBuf};

use similar::TextDiff;

/// Returns the path of a folder of this crate.
#[must_use]
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares the golden files in a folder of this crate with the texts of its inputs, and returns the number of inputs.
///
/// # Errors
///
/// Returns an error with all differences, and with the golden files without an input.
pub fn check(
    inputs_folder: &str,
    golden_folder: &str,
    text: impl Fn(&Path) -> String,
) -> Result<usize, String> {
    let (inputs_folder, golden_folder) = (folder(inputs_folder), folder(golden_folder));
    let inputs = inputs(&inputs_folder)?;
    let mut failures = Vec::new();
    for input in &inputs {
        let name = input.with_extension("yaml");
        let golden = golden_folder.join(name.file_name().unwrap_or_default());
        failures.extend(compare(&golden, &text(input)));
    }
    if !failures.is_empty() {
        failures.push("If the change is intended, record it with UPDATE_GOLDEN=1.".to_owned());
    }
    let orphans = orphans(&inputs_folder, &golden_folder)?;
    failures.extend(
        orphans
            .iter()
            .map(|orphan| format!("{}: a golden file without an input", orphan.display())),
    );
    if failures.is_empty() {
        Ok(inputs.len())
    } else {
        Err(failures.join("\n"))
    }
}

/// Returns the inputs in a folder in the order of their names, without settings files.
///
/// # Errors
///
/// Returns an error if the folder can't be read.
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
fn orphans(inputs_folder: &Path, golden_folder: &Path) -> Result<Vec<PathBuf>, String> {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_owned());
    let stems: Vec<_> = inputs(inputs_folder)?.iter().map(stem).collect();
    Ok(inputs(golden_folder)?
        .into_iter()
        .filter(|golden| !stems.contains(&stem(golden)))
        .collect())
}
