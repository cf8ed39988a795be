//! Embeds what a plugin crate needs and no registry has: the SDK, the default logic as libraries, the contract, and the
//! versions of everything else. `dask-operator plugin new` writes them beside the crate.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Crates below `plugins/`.
const CRATES: [&str; 5] = ["sdk", "cluster", "worker-group", "job", "autoscaler"];

/// Sections of the workspace's manifest that crates inherit from.
const SECTIONS: [&str; 3] = ["workspace.package", "workspace.dependencies", "workspace.lints"];

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            println!("cargo::error={sentence}");
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
        // What is written here is newer than this run, and would be a reason for another.
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

/// The files of a folder and those below it, without tests and frozen versions.
fn sources(folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), String> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(wrong)?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
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

/// A workspace of these crates alone: what they inherit, as it stands in our own.
fn workspace(root: &Path) -> Result<String, String> {
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let manifests = CRATES
        .iter()
        .map(|name| read(root.join("plugins").join(name).join("Cargo.toml")))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    let ours = read(root.join("Cargo.toml"))?;
    let is_used = |line: &str| {
        let name = line.split(['=', ' ']).next().unwrap_or_default();
        manifests.contains(&format!("\n{name}.workspace"))
            || manifests.contains(&format!("\n{name} = {{ workspace"))
    };
    let mut text = format!(
        "# What a plugin is written with, as it is in dask-operator {}. It is not yours to change.\n\n\
         [workspace]\nresolver = \"3\"\nmembers = {CRATES:?}\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut section = "";
    for line in ours
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

/// Writes what differs only: what is newer than what was built from it is built again.
fn write(path: &Path, text: &str) -> Result<(), String> {
    if std::fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
