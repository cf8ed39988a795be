//! Builds the default components and hands them to `src/lib.rs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dask_operator_plugin_build::{Build, Component};
use sha2::{Digest as _, Sha256};

/// Folders below `plugins/`, names of the embedded files, and the interface that each component must export.
const COMPONENTS: [&str; 4] = ["cluster", "worker-group", "job", "autoscaler"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            println!("cargo::error={sentence}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = folder("OUT_DIR")?;
    let root = folder("CARGO_MANIFEST_DIR")?.join("../..");
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

/// A folder that cargo names in the environment.
fn folder(variable: &str) -> Result<PathBuf, String> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| format!("cargo has not set {variable}"))
}

/// The folder `components` that all profiles of this build share, because the components are the same in all of them:
/// beside the profiles' own, or in `OUT_DIR` where cargo puts things elsewhere. No other build uses it: a crate that is
/// built upon the default logic could replace what is embedded here.
fn target_dir(out: &Path) -> PathBuf {
    let target = out
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.unwrap_or(out).join("components")
}

fn embed(path: &Path, component: &Component) -> Result<(), String> {
    for source in &component.sources {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    write(&path.with_extension("wasm"), &component.bytes)?;
    write(&path.with_extension("sha256"), &Sha256::digest(&component.bytes))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(file, bytes).map_err(|error| format!("{}: {error}", file.display()))
}
