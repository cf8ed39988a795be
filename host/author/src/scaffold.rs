//! Scaffolding of new plugin crates.
//!
//! A new crate is a small working example with tests. It vendors the crates of this project that it depends on, so that
//! it builds without a checkout of this project.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dask_operator_core::rfc1123;
use dask_operator_runtime::Interface;
use thiserror::Error;

/// Files that every new crate includes besides its own: path relative to the crate's folder, and content.
static VENDORED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/vendored.rs"));

/// Names that have another meaning to cargo or Rust.
const RESERVED_NAMES: [&str; 20] = [
    "alloc",
    "as",
    "build",
    "core",
    "crate",
    "deps",
    "enum",
    "examples",
    "fn",
    "impl",
    "incremental",
    "mod",
    "plugin",
    "proc-macro",
    "std",
    "struct",
    "test",
    "type",
    "use",
    "vendor",
];

/// An error from the creation of a plugin crate.
#[derive(Debug, Error)]
pub enum ScaffoldError {
    /// The name is not valid for a plugin.
    #[error("{name:?} can't be a plugin's name: {problem}")]
    Name {
        /// The name.
        name: String,
        /// The reason, and what to write instead.
        problem: &'static str,
    },
    /// The folder already exists and is not empty.
    #[error("{} already exists and is not empty: choose another name, or another folder with --output", .0.display())]
    Exists(PathBuf),
    /// A file or folder cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The path of the file or folder.
        path: PathBuf,
        /// The error from the operating system.
        #[source]
        error: std::io::Error,
    },
}

/// Checks the name of a plugin, which becomes the name of its crate and its component, and part of a file name.
///
/// # Errors
///
/// Returns an error with the reason if the name is not valid.
pub fn check_name(name: &str) -> Result<(), ScaffoldError> {
    let problem = if name.is_empty() {
        Some("write one, for example `worker-limit`")
    } else if name.len() > rfc1123::LABEL_MAX {
        Some("write at most 63 characters")
    } else if !name.chars().all(rfc1123::is_label_char) {
        Some("write lower-case letters, digits and hyphens only, for example `worker-limit`")
    } else if !rfc1123::is_label(name) || name.starts_with(|first: char| first.is_ascii_digit()) {
        Some("begin with a letter and end with a letter or a digit, for example `worker-limit`")
    } else if RESERVED_NAMES.contains(&name) {
        Some("it has a meaning to Rust or cargo; write two words, for example `worker-limit`")
    } else {
        None
    };
    match problem {
        Some(problem) => Err(ScaffoldError::Name {
            name: name.to_owned(),
            problem,
        }),
        None => Ok(()),
    }
}

/// Values of the placeholders in the templates, by placeholder.
fn placeholders(name: &str, interface: Interface) -> BTreeMap<&'static str, String> {
    let kind = interface.name();
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_ascii_uppercase().to_string() + letters.as_str()
        })
    };
    let camel = |name: &str| name.split('-').map(capital).collect::<String>();
    // The plugin's type must not have the name of a trait or type that the template uses.
    let type_ = match camel(name) {
        taken
            if [
                "Policy",
                "Plugin",
                "Settings",
                "Logic",
                "Changes",
                camel(kind).as_str(),
            ]
            .contains(&taken.as_str()) =>
        {
            format!("My{taken}")
        }
        type_ => type_,
    };
    let mut dependencies = "dask-operator-plugin = { path = \"vendor/sdk\" }\n".to_owned();
    if interface != Interface::Policy {
        dependencies.insert_str(
            0,
            &format!("dask-operator-{kind} = {{ path = \"vendor/{kind}\" }}\n"),
        );
    }
    let cluster = "{apiVersion: kubernetes.dask.org/v1, kind: DaskCluster, metadata: {name: c}, spec: {}}";
    let pod_spec = "spec: {containers: [{name: main, image: i}]}";
    let pod = format!("{{{pod_spec}}}");
    let (manifest, related) = match interface {
        Interface::WorkerGroup => (
            format!(
                "{{apiVersion: kubernetes.dask.org/v1, kind: DaskWorkerGroup, metadata: {{name: g}}, \
                 spec: {{cluster: c, worker: {{replicas: 2, {pod_spec}}}}}}}"
            ),
            Some(cluster),
        ),
        Interface::Job => (
            format!(
                "{{apiVersion: kubernetes.dask.org/v1, kind: DaskJob, metadata: {{name: j}}, \
                 spec: {{job: {pod}, cluster: {{spec: {{worker: {pod}, scheduler: {{{pod_spec}, service: {{}}}}}}}}}}}}"
            ),
            None,
        ),
        _ => (
            format!(
                "{{apiVersion: kubernetes.dask.org/v1, kind: DaskCluster, metadata: {{name: c}}, \
                 spec: {{worker: {pod}, scheduler: {{{pod_spec}, service: {{}}}}}}}}"
            ),
            None,
        ),
    };
    BTreeMap::from([
        ("name", name.to_owned()),
        ("type", type_),
        ("kind", kind.to_owned()),
        ("interface", camel(kind)),
        ("default", format!("Default{}", camel(kind))),
        ("crate", format!("dask_operator_{}", kind.replace('-', "_"))),
        ("export", kind.replace('-', "_")),
        ("dependencies", dependencies),
        (
            "related",
            related.map_or_else(String::new, |object| {
                format!("\n            .related(dask_operator_plugin::testing::yaml(\"{object}\"))")
            }),
        ),
        ("related_objects", format!("[{}]", related.unwrap_or_default())),
        ("observed", manifest.clone()),
        ("manifest", manifest),
    ])
}

/// Returns the template with each placeholder replaced by its value.
fn fill(template: &str, values: &BTreeMap<&'static str, String>) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{{{name}}}}}"), value)
    })
}

/// The files of a new crate: path relative to the crate's folder, and content.
fn files(name: &str, interface: Interface) -> Vec<(String, String)> {
    let values = placeholders(name, interface);
    let (code, tests) = match interface {
        Interface::Policy => (
            include_str!("../templates/policy.rs"),
            include_str!("../templates/policy.yaml"),
        ),
        Interface::Autoscaler => (
            include_str!("../templates/autoscaler.rs"),
            include_str!("../templates/autoscaler.yaml"),
        ),
        _ => (
            include_str!("../templates/logic.rs"),
            include_str!("../templates/logic.yaml"),
        ),
    };
    let own = [
        ("Cargo.toml", include_str!("../templates/Cargo.toml")),
        ("src/lib.rs", code),
        ("tests.yaml", tests),
        (".gitignore", "/target\n"),
    ];
    let own = own
        .into_iter()
        .map(|(path, template)| (path.to_owned(), fill(template, &values)));
    let vendored = VENDORED
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    own.chain(vendored).collect()
}

/// Writes a new plugin crate into `folder`, which is created if it does not exist.
///
/// # Errors
///
/// Returns an error if the name is not valid, the folder is not empty, or a file cannot be written.
pub fn write(name: &str, interface: Interface, folder: &Path) -> Result<(), ScaffoldError> {
    check_name(name)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ScaffoldError::Io { path, error }
    };
    if folder.exists() && fs::read_dir(folder).map_err(failed(folder))?.next().is_some() {
        return Err(ScaffoldError::Exists(folder.to_owned()));
    }
    for (name, text) in files(name, interface) {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", "write one")]
    #[case("Worker-Limit", "lower-case")]
    #[case("worker_limit", "hyphens only")]
    #[case("../limit", "hyphens only")]
    #[case("2-workers", "begin with a letter")]
    #[case("limit-", "end with a letter")]
    #[case("test", "two words")]
    fn rejects_invalid_names(#[case] name: &str, #[case] expected: &str) {
        let error = check_name(name).map_err(|error| error.to_string());
        assert!(
            error.as_ref().is_err_and(|error| error.contains(expected)),
            "{error:?}"
        );
    }

    #[rstest]
    #[case(Interface::Policy)]
    #[case(Interface::Cluster)]
    #[case(Interface::WorkerGroup)]
    #[case(Interface::Job)]
    #[case(Interface::Autoscaler)]
    fn every_placeholder_is_filled(#[case] interface: Interface) {
        let written = files("worker-limit", interface);
        for (name, text) in written.iter().filter(|(name, _)| !name.starts_with("vendor/")) {
            assert!(!text.contains("{{"), "{name}: {text}");
        }
        let manifest = written
            .iter()
            .find(|(name, _)| name == "vendor/Cargo.toml")
            .map(|(_, text)| text);
        let manifest = manifest.expect("a workspace of the vendored crates");
        assert!(manifest.contains("\nwit-bindgen = "), "{manifest}");
        assert!(
            manifest.contains("dask-operator-plugin = { path = \"sdk\" }"),
            "{manifest}"
        );
        assert!(
            manifest.contains("dask-operator-kubernetes = { path = \"kubernetes\" }"),
            "{manifest}"
        );
        assert!(!manifest.contains("wasmtime"), "{manifest}");
    }

    #[test]
    fn existing_files_are_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("mine"), "").expect("a file");
        let error = write("worker-limit", Interface::Policy, folder.path());
        assert!(matches!(error, Err(ScaffoldError::Exists(_))), "{error:?}");
        let fresh = folder.path().join("fresh");
        write("worker-limit", Interface::Policy, &fresh).expect("written");
        assert!(fresh.join("vendor/sdk/src/lib.rs").exists());
        assert!(fresh.join("vendor/kubernetes/src/lib.rs").exists());
        assert!(fresh.join("wit/policy.wit").exists());
    }
}
