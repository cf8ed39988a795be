//! Runs the compiler on plugin crates. Reads and writes files and starts cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::compiler::{Compiler, CompilerNotFound};
use crate::component::{self, BuiltComponent, ComponentError, TARGET};

/// Cargo profile of components, as `--config` arguments: optimised for speed, but small because the operator compiles
/// each component when it loads it. Function names are preserved, so that a trap reports the function.
const PROFILE: [&str; 5] = [
    "profile.release.opt-level=3",
    "profile.release.lto=\"fat\"",
    "profile.release.codegen-units=1",
    "profile.release.panic=\"abort\"",
    "profile.release.strip=\"debuginfo\"",
];

/// An error that prevented a build.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// This machine has no compiler for WebAssembly.
    #[error(transparent)]
    CompilerNotFound(#[from] CompilerNotFound),
    /// A folder that was given as a plugin contains no crate.
    #[error("{0} has no Cargo.toml: name the folder of a plugin crate")]
    NoCrate(PathBuf),
    /// No plugin was given.
    #[error("no plugin crate was named")]
    Nothing,
    /// The plugins belong to different cargo workspaces.
    #[error("{plugin} belongs to another cargo workspace than {first}: build them one after the other")]
    Elsewhere {
        /// A plugin of another workspace than `first`.
        plugin: PathBuf,
        /// The plugin that was given first.
        first: PathBuf,
    },
    /// The compiler could not be started.
    #[error("{program} could not be started: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The compiler found errors, which it printed.
    #[error("the plugins do not compile for {TARGET}; the compiler's errors are above")]
    Compile,
    /// A crate compiled, but produced no module.
    #[error(
        "{package} made no WebAssembly module: add `crate-type = [\"cdylib\"]` under [lib] in its Cargo.toml"
    )]
    NoModule {
        /// The package name.
        package: String,
    },
    /// A module can't be encoded as a component that the operator would load.
    #[error("{package}: {source}")]
    Component {
        /// The package name.
        package: String,
        /// The reason.
        source: ComponentError,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

/// A build of plugin crates that belong to the same cargo workspace.
#[derive(Debug, Clone)]
pub struct Build {
    target_dir: PathBuf,
    plugins: Vec<PathBuf>,
    quiet: bool,
}

/// A crate that cargo compiled, as cargo reports it.
struct Artifact {
    package: String,
    manifest: PathBuf,
    module: Option<PathBuf>,
}

impl Build {
    /// Creates a build whose files are written to `target_dir`. The folder is created if it does not exist. It must not
    /// be the target directory of a cargo process that waits for this build.
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

    /// Suppresses cargo's progress messages; compiler errors are still printed.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Builds the components and returns them in the order in which the plugins were added. Unchanged crates are not
    /// compiled again, and a component's file is written only if its content differs.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no plugin or no compiler for WebAssembly, if a crate does not compile or makes no
    /// component that the operator would load, or if a file can't be read or written.
    pub fn run(&self) -> Result<Vec<BuiltComponent>, BuildError> {
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

    fn compile(&self, folders: &[PathBuf]) -> Result<Vec<Artifact>, BuildError> {
        let first = folders.first().ok_or(BuildError::Nothing)?;
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
        // Run in the folder of the workspace, so that cargo reads the configuration of that workspace.
        cargo.current_dir(first);
        Ok(artifacts(&run(&mut cargo, BuildError::Compile)?))
    }

    /// Returns the absolute path of the target directory, because cargo runs in another folder.
    fn target_dir(&self) -> Result<PathBuf, BuildError> {
        std::path::absolute(&self.target_dir).map_err(|source| BuildError::File {
            path: self.target_dir.clone(),
            source,
        })
    }

    fn component(&self, folder: &Path, artifacts: &[Artifact]) -> Result<BuiltComponent, BuildError> {
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
            return Err(BuildError::NoModule { package });
        };
        let failed = |source| BuildError::Component {
            package: package.clone(),
            source,
        };
        let path = self.target_dir()?.join(format!("{package}.wasm"));
        let bytes = component::encode(&read(module)?).map_err(failed)?;
        let interfaces = component::fit(&bytes).map_err(failed)?;
        if std::fs::read(&path).ok().as_ref() != Some(&bytes) {
            std::fs::write(&path, &bytes).map_err(|source| BuildError::File {
                path: path.clone(),
                source,
            })?;
        }
        let sources = sources(folder, module);
        let (imports, exports) = (interfaces.imports, interfaces.exports);
        Ok(BuiltComponent {
            package: package.clone(),
            path,
            bytes,
            imports,
            exports,
            sources,
        })
    }
}

/// Runs cargo and returns its standard output. Its standard error is inherited. Returns `failed` if cargo fails.
fn run(cargo: &mut Command, failed: BuildError) -> Result<Vec<u8>, BuildError> {
    cargo.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = cargo.output().map_err(|source| BuildError::Start {
        program: cargo.get_program().into(),
        source,
    })?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed)
    }
}

/// Returns cargo's package ids of the crates in these folders of one workspace.
fn packages(compiler: &Compiler, folders: &[PathBuf]) -> Result<Vec<String>, BuildError> {
    let first = folders.first().ok_or(BuildError::Nothing)?;
    let mut cargo = compiler.cargo();
    cargo
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(first);
    let metadata = run(&mut cargo, BuildError::NoCrate(first.clone()))?;
    let metadata: Value = serde_json::from_slice(&metadata).unwrap_or_default();
    let id = |folder: &PathBuf| {
        let manifest = folder.join("Cargo.toml");
        let mut packages = metadata["packages"].as_array().into_iter().flatten();
        let package =
            packages.find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest));
        let id = package.and_then(|package| package["id"].as_str());
        id.map(str::to_owned).ok_or_else(|| BuildError::Elsewhere {
            plugin: folder.clone(),
            first: first.clone(),
        })
    };
    folders.iter().map(id).collect()
}

/// Returns the absolute folder of a crate.
fn crate_folder(folder: &Path) -> Result<PathBuf, BuildError> {
    let no_crate = || BuildError::NoCrate(folder.to_path_buf());
    let folder = folder.canonicalize().map_err(|_| no_crate())?;
    if folder.join("Cargo.toml").is_file() {
        Ok(folder)
    } else {
        Err(no_crate())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(|source| BuildError::File {
        path: path.to_path_buf(),
        source,
    })
}

/// Parses cargo's messages, one JSON text per line. Lines that are no JSON are skipped.
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

/// Returns the package name in a package id: `path+file:///p/cluster#dask-operator-cluster@0.1.0`, or
/// `path+file:///p/cluster#0.1.0` if the folder and the package have the same name.
fn package_name(id: &str) -> &str {
    let (location, fragment) = id.split_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name,
        None => location.rsplit('/').next().unwrap_or(location),
    }
}

/// Returns the files that a module was built from, from the dependency list that cargo writes beside it. Returns the
/// crate's folder if there is no such list.
fn sources(folder: &Path, module: &Path) -> Vec<PathBuf> {
    let list = std::fs::read_to_string(module.with_extension("d")).unwrap_or_default();
    let mut sources = vec![folder.join("Cargo.toml")];
    match list.split_once(".wasm: ") {
        Some((_, files)) => sources.extend(dependencies(files)),
        None => sources.push(folder.to_path_buf()),
    }
    sources
}

/// Splits the file list of a makefile at spaces. A backslash escapes a space in a name.
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
    fn reads_the_name_from_a_package_id() {
        assert_eq!(
            package_name("path+file:///p/cluster#dask-operator-cluster@0.1.0"),
            "dask-operator-cluster"
        );
        assert_eq!(package_name("path+file:///p/refuse-all#0.1.0"), "refuse-all");
    }

    #[test]
    fn splits_file_names_with_escaped_spaces() {
        let files: Vec<PathBuf> = dependencies("/a/lib.rs /b\\ c/lib.rs\n").collect();
        assert_eq!(files, [PathBuf::from("/a/lib.rs"), PathBuf::from("/b c/lib.rs")]);
    }

    #[test]
    fn reads_artifacts_from_cargo_messages() {
        let messages = br#"{"reason":"build-script-executed"}
{"reason":"compiler-artifact","package_id":"path+file:///p/x#0.1.0","manifest_path":"/p/x/Cargo.toml","filenames":["/t/x.rlib","/t/x.wasm"]}
not json
"#;
        let artifacts = artifacts(messages);
        assert_eq!(artifacts.len(), 1);
        assert_eq!(artifacts[0].module, Some(PathBuf::from("/t/x.wasm")));
    }

    #[test]
    fn rejects_a_folder_without_a_crate() {
        let folder = tempfile::tempdir().expect("folder");
        let error = Build::new(folder.path())
            .plugin(folder.path())
            .run()
            .expect_err("no crate");
        assert!(error.to_string().contains("has no Cargo.toml"), "{error}");
    }
}
