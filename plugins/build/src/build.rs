//! Runs the compiler on plugin crates.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::compiler::{Compiler, CompilerNotFound};
use crate::component::{self, Component, ComponentError, TARGET};

/// How components are optimised: for speed, and small because they are loaded and compiled at start. Names of
/// functions stay, so that a trap says where it happened.
const PROFILE: [&str; 5] = [
    "profile.release.opt-level=3",
    "profile.release.lto=\"fat\"",
    "profile.release.codegen-units=1",
    "profile.release.panic=\"abort\"",
    "profile.release.strip=\"debuginfo\"",
];

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine has no compiler for WebAssembly.
    #[error(transparent)]
    CompilerNotFound(#[from] CompilerNotFound),
    /// A folder that was named as a plugin is no crate.
    #[error("{0} has no Cargo.toml: name the folder of a plugin crate")]
    NoCrate(PathBuf),
    /// No plugin was named.
    #[error("no plugin crate was named")]
    Nothing,
    /// Plugins of two workspaces.
    #[error("{plugin} belongs to another cargo workspace than {first}: build them one after the other")]
    Elsewhere {
        /// A plugin.
        plugin: PathBuf,
        /// The plugin that was named first.
        first: PathBuf,
    },
    /// The compiler could not be started.
    #[error("{program} could not be started: {source}")]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The compiler found errors, which it printed.
    #[error("the plugins do not compile for {TARGET}; the compiler's errors are above")]
    Compile,
    /// A crate compiled, but makes no module.
    #[error(
        "{package} made no WebAssembly module: add `crate-type = [\"cdylib\"]` under [lib] in its Cargo.toml"
    )]
    NoModule {
        /// Which package.
        package: String,
    },
    /// A module is none that the operator would load.
    #[error("{package}: {source}")]
    Component {
        /// Which package.
        package: String,
        /// Why.
        source: ComponentError,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A build of plugin crates that belong to one cargo workspace.
#[derive(Debug, Clone)]
pub struct Build {
    target_dir: PathBuf,
    plugins: Vec<PathBuf>,
    quiet: bool,
}

/// What cargo says of a crate that it compiled.
struct Artifact {
    package: String,
    manifest: PathBuf,
    module: Option<PathBuf>,
}

impl Build {
    /// A build whose files live in `target_dir`, made where it does not exist. It must not be the target directory
    /// of a cargo that waits for this build.
    pub fn new(target_dir: impl Into<PathBuf>) -> Self {
        Self {
            target_dir: target_dir.into(),
            plugins: Vec::new(),
            quiet: false,
        }
    }

    /// Adds the folder of a plugin crate.
    #[must_use]
    pub fn plugin(mut self, folder: impl Into<PathBuf>) -> Self {
        self.plugins.push(folder.into());
        self
    }

    /// Says nothing while it works; errors of the compiler are printed all the same.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Builds the components, in the order in which the plugins were added. What has not changed is not built
    /// again, and a component's file is written only when it differs.
    pub fn run(&self) -> Result<Vec<Component>, Error> {
        let folders = self
            .plugins
            .iter()
            .map(|folder| crate_folder(folder))
            .collect::<Result<Vec<_>, _>>()?;
        let artifacts = self.compile(&folders)?;
        folders
            .iter()
            .map(|folder| self.component(folder, &artifacts))
            .collect()
    }

    fn compile(&self, folders: &[PathBuf]) -> Result<Vec<Artifact>, Error> {
        let first = folders.first().ok_or(Error::Nothing)?;
        let target_dir = self.target_dir()?;
        let compiler = Compiler::find()?;
        let packages = packages(&compiler, folders)?;
        let mut cargo = compiler.cargo_build();
        cargo
            .arg("--release")
            .arg("--message-format=json-render-diagnostics");
        cargo.arg("--manifest-path").arg(first.join("Cargo.toml"));
        cargo.arg("--target-dir").arg(target_dir);
        for package in packages {
            cargo.arg("--package").arg(package);
        }
        for setting in PROFILE {
            cargo.args(["--config", setting]);
        }
        if self.quiet {
            cargo.arg("--quiet");
        }
        // In the workspace's folder cargo finds the configuration that belongs to it.
        cargo.current_dir(first);
        Ok(artifacts(&run(&mut cargo, Error::Compile)?))
    }

    /// The target directory from wherever cargo runs.
    fn target_dir(&self) -> Result<PathBuf, Error> {
        std::path::absolute(&self.target_dir).map_err(|source| Error::File {
            path: self.target_dir.clone(),
            source,
        })
    }

    fn component(&self, folder: &Path, artifacts: &[Artifact]) -> Result<Component, Error> {
        let manifest = folder.join("Cargo.toml");
        let artifact = artifacts
            .iter()
            .find(|artifact| artifact.manifest == manifest && artifact.module.is_some());
        let Some(Artifact {
            package,
            module: Some(module),
            ..
        }) = artifact
        else {
            let package = folder.display().to_string();
            return Err(Error::NoModule { package });
        };
        let failed = |source| Error::Component {
            package: package.clone(),
            source,
        };
        let path = self.target_dir()?.join(format!("{package}.wasm"));
        let bytes = component::encode(&read(module)?).map_err(failed)?;
        let interfaces = component::fit(&bytes).map_err(failed)?;
        if std::fs::read(&path).ok().as_ref() != Some(&bytes) {
            std::fs::write(&path, &bytes).map_err(|source| Error::File {
                path: path.clone(),
                source,
            })?;
        }
        let sources = sources(folder, module);
        let (imports, exports) = (interfaces.imports, interfaces.exports);
        Ok(Component {
            package: package.clone(),
            path,
            bytes,
            imports,
            exports,
            sources,
        })
    }
}

/// Runs cargo, whose messages for people go where ours go, and gives what it printed.
fn run(cargo: &mut Command, failed: Error) -> Result<Vec<u8>, Error> {
    cargo.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = cargo.output().map_err(|source| Error::Start {
        program: cargo.get_program().into(),
        source,
    })?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed)
    }
}

/// What cargo calls the packages in these folders of one workspace.
fn packages(compiler: &Compiler, folders: &[PathBuf]) -> Result<Vec<String>, Error> {
    let first = folders.first().ok_or(Error::Nothing)?;
    let mut cargo = compiler.cargo();
    cargo
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(first);
    let metadata = run(&mut cargo, Error::NoCrate(first.clone()))?;
    let metadata: Value = serde_json::from_slice(&metadata).unwrap_or_default();
    let id = |folder: &PathBuf| {
        let manifest = folder.join("Cargo.toml");
        let mut packages = metadata["packages"].as_array().into_iter().flatten();
        let package =
            packages.find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest));
        let id = package.and_then(|package| package["id"].as_str());
        id.map(str::to_owned).ok_or_else(|| Error::Elsewhere {
            plugin: folder.clone(),
            first: first.clone(),
        })
    };
    folders.iter().map(id).collect()
}

/// The absolute folder of a crate.
fn crate_folder(folder: &Path) -> Result<PathBuf, Error> {
    let no_crate = || Error::NoCrate(folder.to_path_buf());
    let folder = folder.canonicalize().map_err(|_| no_crate())?;
    if folder.join("Cargo.toml").is_file() {
        Ok(folder)
    } else {
        Err(no_crate())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File {
        path: path.to_path_buf(),
        source,
    })
}

/// Reads cargo's messages, a JSON text on each line.
fn artifacts(messages: &[u8]) -> Vec<Artifact> {
    let messages = messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok());
    messages.filter_map(|message: Value| artifact(&message)).collect()
}

fn artifact(message: &Value) -> Option<Artifact> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let files = message["filenames"].as_array()?;
    let module = files
        .iter()
        .filter_map(Value::as_str)
        .find(|file| file.ends_with(".wasm"))
        .map(PathBuf::from);
    let package = package_name(message["package_id"].as_str()?).to_owned();
    Some(Artifact {
        package,
        manifest: PathBuf::from(message["manifest_path"].as_str()?),
        module,
    })
}

/// The name in a package id: `path+file:///p/cluster#dask-operator-cluster@0.1.0`, or `path+file:///p/cluster#0.1.0` where
/// folder and package have the same name.
fn package_name(id: &str) -> &str {
    let (location, fragment) = id.split_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name,
        None => location.rsplit('/').next().unwrap_or(location),
    }
}

/// Files that a module was made of, from the list that cargo writes beside it; the crate's folder where there is
/// no such list.
fn sources(folder: &Path, module: &Path) -> Vec<PathBuf> {
    let list = std::fs::read_to_string(module.with_extension("d")).unwrap_or_default();
    let mut sources = vec![folder.join("Cargo.toml")];
    match list.split_once(".wasm: ") {
        Some((_, files)) => sources.extend(dependencies(files)),
        None => sources.push(folder.to_path_buf()),
    }
    sources
}

/// Splits a makefile's list of files at spaces; a space in a name has a backslash before it.
fn dependencies(list: &str) -> impl Iterator<Item = PathBuf> {
    let joined = list.trim().replace("\\ ", "\0");
    let files: Vec<PathBuf> = joined
        .split(' ')
        .map(|file| PathBuf::from(file.replace('\0', " ")))
        .collect();
    files.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names() {
        assert_eq!(
            package_name("path+file:///p/cluster#dask-operator-cluster@0.1.0"),
            "dask-operator-cluster"
        );
        assert_eq!(package_name("path+file:///p/refuse-all#0.1.0"), "refuse-all");
    }

    #[test]
    fn names_with_spaces() {
        let files: Vec<PathBuf> = dependencies("/a/lib.rs /b\\ c/lib.rs\n").collect();
        assert_eq!(files, [PathBuf::from("/a/lib.rs"), PathBuf::from("/b c/lib.rs")]);
    }

    #[test]
    fn messages_of_cargo() {
        let messages = br#"{"reason":"build-script-executed"}
{"reason":"compiler-artifact","package_id":"path+file:///p/x#0.1.0","manifest_path":"/p/x/Cargo.toml","filenames":["/t/x.rlib","/t/x.wasm"]}
not json
"#;
        let artifacts = artifacts(messages);
        assert_eq!(artifacts.len(), 1);
        assert_eq!(artifacts[0].module, Some(PathBuf::from("/t/x.wasm")));
    }

    #[test]
    fn a_folder_without_a_crate() {
        let folder = tempfile::tempdir().expect("folder");
        let error = Build::new(folder.path())
            .plugin(folder.path())
            .run()
            .expect_err("no crate");
        assert!(error.to_string().contains("has no Cargo.toml"), "{error}");
    }
}
