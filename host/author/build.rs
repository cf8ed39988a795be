//! Embeds the dependencies of a plugin crate that no package registry has: the SDK, the default logic as libraries, the
//! contract, and the versions of all other dependencies. `dask-operator plugin new` writes these files into the crate.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The embedded crates, by folder below `plugins/`.
const CRATES: [&str; 6] = [
    "kubernetes",
    "sdk",
    "cluster",
    "worker-group",
    "job",
    "autoscaler",
];

/// Sections of the workspace manifest that the embedded crates inherit from.
const SECTIONS: [&str; 3] = ["workspace.package", "workspace.dependencies", "workspace.lints"];

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("cargo has not set {name}"));
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../..");
    let root = root
        .canonicalize()
        .map_err(|error| format!("{}: {error}", root.display()))?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    let mut files = Vec::new();
    for name in CRATES {
        let folder = root.join("plugins").join(name);
        files.push((format!("vendor/{name}/Cargo.toml"), folder.join("Cargo.toml")));
        sources(&folder.join("src"), &format!("vendor/{name}/src"), &mut files)?;
    }
    sources(&root.join("wit"), "wit", &mut files)?;
    let manifest = out.join("workspace.toml");
    write(&manifest, &workspace(&root)?)?;
    files.push(("vendor/Cargo.toml".to_owned(), manifest));
    files.push(("Cargo.lock".to_owned(), root.join("Cargo.lock")));
    println!("cargo::rerun-if-changed={}", root.join("Cargo.toml").display());
    let mut list = String::from("&[\n");
    for (name, path) in &files {
        // Files that this script writes are newer than its run, so that they would trigger another run.
        if !path.starts_with(&out) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        let _ = writeln!(
            list,
            "({name:?}, include_str!({:?})),",
            path.display().to_string()
        );
    }
    list.push(']');
    write(&out.join("vendored.rs"), &list)
}

/// Adds the sources of a folder and the folders below it to `files`, without tests and frozen versions.
fn sources(folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), String> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let in_folder = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(in_folder)?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(in_folder)?;
    paths.sort();
    for path in paths {
        let Some(file) = path.file_name().and_then(|file| file.to_str()) else {
            continue;
        };
        let name = format!("{name}/{file}");
        match path.extension().and_then(|end| end.to_str()) {
            _ if path.is_dir() && !["tests", "frozen"].contains(&file) => sources(&path, &name, files)?,
            Some("rs" | "wit") if file != "tests.rs" => files.push((name, path)),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the manifest of a workspace that has the embedded crates alone. What the crates inherit is copied from this
/// project's own workspace manifest.
fn workspace(root: &Path) -> Result<String, String> {
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let manifests = CRATES
        .iter()
        .map(|name| read(root.join("plugins").join(name).join("Cargo.toml")))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    let root_manifest = read(root.join("Cargo.toml"))?;
    let is_used = |line: &str| {
        let name = line.split(['=', ' ']).next().unwrap_or_default();
        manifests.contains(&format!("\n{name}.workspace"))
            || manifests.contains(&format!("\n{name} = {{ workspace"))
    };
    let mut text = format!(
        "# The crates of dask-operator {} that a plugin depends on. Do not edit.\n\n\
         [workspace]\nresolver = \"3\"\nmembers = {CRATES:?}\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut section = "";
    for line in root_manifest
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = header;
            if SECTIONS.iter().any(|wanted| section.starts_with(wanted)) {
                let _ = write!(text, "\n[{section}]\n");
            }
        } else if SECTIONS.iter().any(|wanted| section.starts_with(wanted))
            && (section != "workspace.dependencies" || is_used(line))
        {
            let _ = writeln!(text, "{}", line.replace("path = \"plugins/", "path = \""));
        }
    }
    Ok(text)
}

/// Writes a file if its content differs, because cargo rebuilds whatever depends on a newer file.
fn write(path: &Path, text: &str) -> Result<(), String> {
    if std::fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
