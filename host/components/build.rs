//! Builds the default components and writes them to `OUT_DIR`, from where `src/lib.rs` embeds them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dask_operator_plugin_build::{Build, BuiltComponent};
use sha2::{Digest as _, Sha256};

/// Names of the default components. Each is the folder below `plugins/`, the stem of the embedded files, and the name of
/// the interface that the component must export.
const COMPONENTS: [&str; 4] = ["cluster", "worker-group", "job", "autoscaler"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = path_from_env("OUT_DIR")?;
    let root = path_from_env("CARGO_MANIFEST_DIR")?.join("../..");
    for file in ["build.rs", "../../Cargo.toml", "../../Cargo.lock", "../../wit"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let build = COMPONENTS
        .iter()
        .fold(Build::new(target_dir(&out)), |build, name| {
            build.plugin(root.join("plugins").join(name).join("component"))
        });
    let components = build.run().map_err(|error| error.to_string())?;
    for (name, component) in COMPONENTS.iter().zip(&components) {
        let interface = format!("dask:operator/{name}@");
        if !component
            .exports
            .iter()
            .any(|export| export.starts_with(&interface))
        {
            return Err(format!(
                "{} does not export {interface}…, but only {:?}: the operator would not load it; remove {} and build again",
                component.package,
                component.exports,
                component.path.display()
            ));
        }
        embed(&out.join(name), component)?;
    }
    Ok(())
}

/// Returns the path in an environment variable that cargo sets.
fn path_from_env(variable: &str) -> Result<PathBuf, String> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| format!("cargo has not set {variable}"))
}

/// Returns the target directory for the components: `components` in cargo's target directory, or in `OUT_DIR` if no parent
/// of `OUT_DIR` is a target directory.
///
/// All profiles share it, because the components are the same in all of them. No other build may use it: a crate that
/// depends on the default logic could replace the files that are embedded here.
fn target_dir(out: &Path) -> PathBuf {
    let target = out
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.unwrap_or(out).join("components")
}

/// Writes the bytes of a component and their SHA-256 to `path`, with the extensions `wasm` and `sha256`.
fn embed(path: &Path, component: &BuiltComponent) -> Result<(), String> {
    for source in &component.sources {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    write(&path.with_extension("wasm"), &component.bytes)?;
    write(&path.with_extension("sha256"), &Sha256::digest(&component.bytes))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(file, bytes).map_err(|error| format!("{}: {error}", file.display()))
}
