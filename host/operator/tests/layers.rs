//! The structure of this crate's modules: imports point downwards, and only some modules do I/O.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the crate from the top to the bottom. A module imports only modules of lower layers.
const LAYERS: &[&[&str]] = &[
    &["reference", "run"],
    &["controller", "logging"],
    &["args", "reconcile"],
    &["schedulers", "webhook"],
    &["cache", "legacy_env", "plugins"],
    &["client"],
    &["health", "recording"],
    &["leader_election", "server", "threads"],
    &["key", "log_limit", "metrics", "newest", "selection"],
];

/// Files that use the client of the API server.
const API_SERVER: &[&str] = &[
    "cache/nodes.rs",
    "cache/watch.rs",
    "client/crds.rs",
    "client/discovery.rs",
    "client/events.rs",
    "client/mod.rs",
    "client/watch.rs",
    "client/writer.rs",
    // Passes it to the watches.
    "controller/mod.rs",
    "leader_election/mod.rs",
    // Passes it to `fetch.rs`.
    "plugins/load/attempt.rs",
    "plugins/load/fetch.rs",
    // Passes it to the watches.
    "plugins/load/manager.rs",
    "plugins/load/watch.rs",
    "run.rs",
    "webhook/dry_run/client.rs",
    "webhook/mod.rs",
    "webhook/tls/ca_bundle.rs",
    "webhook/tls/secret.rs",
];

/// Files that connect to other programs, or are connected to.
const NETWORK: &[&str] = &["schedulers/client.rs", "server.rs"];

/// Files that use the file system.
const FILES: &[&str] = &[
    // The namespace of the pod.
    "leader_election/mod.rs",
    "newest.rs",
    "plugins/load/cache.rs",
    "plugins/load/crash_records.rs",
    "webhook/tls/files.rs",
];

/// Returns the paths of the source files below the crate's `src`, without tests, and their code without comments and tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let mut sources = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).expect("below src");
        let path = path.to_str().expect("UTF-8").to_owned();
        let text = fs::read_to_string(&file).expect("a source file");
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        sources.push((path, code.collect::<Vec<_>>().join("\n")));
    }
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_test = path
            .file_stem()
            .is_some_and(|name| name == "tests" || name == "testing");
        if path.is_dir() && !is_test {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            files.push(path);
        }
    }
}

/// Returns the top-level module of a source file.
fn module(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("{module} is in no layer"))
}

#[test]
fn imports_point_downwards() {
    let mut upward = BTreeSet::new();
    for (path, code) in sources() {
        let own = module(&path);
        if own == "lib" {
            continue;
        }
        for rest in code.split("crate::").skip(1) {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let (imported, is_group) = (&rest[..end], rest.starts_with('{'));
            let imported: Vec<_> = if is_group {
                let group = rest[1..].split('}').next().unwrap_or_default();
                group
                    .split(',')
                    .map(|name| name.split("::").next().unwrap_or_default().trim())
                    .collect()
            } else {
                vec![imported]
            };
            for imported in imported {
                if imported != own && layer(imported) <= layer(own) {
                    upward.insert(format!("{path} imports {imported}"));
                }
            }
        }
    }
    assert_eq!(upward, BTreeSet::new());
}

#[test]
fn only_some_modules_do_io() {
    let rules: [(&[&str], &[&str]); 3] = [
        (
            API_SERVER,
            &["kube::Client", "kube::{Client", "Api<", "client.request"],
        ),
        (NETWORK, &["TcpStream", "TcpListener", "HttpScheduler"]),
        (FILES, &["std::fs", "tokio::fs", "File::", "tempfile::"]),
    ];
    let sources = sources();
    for (allowed, words) in rules {
        let uses = |code: &str| words.iter().any(|word| code.contains(word));
        let found = sources.iter().filter(|(_, code)| uses(code));
        let found: BTreeSet<_> = found.map(|(path, _)| path.as_str()).collect();
        assert_eq!(found, allowed.iter().copied().collect(), "{words:?}");
    }
}

/// Rules about plugins do no I/O, and do not depend on the modules that do it.
#[test]
fn rules_about_plugins_are_pure() {
    let is_pure = |path: &str| path.starts_with("plugins/") && !path.starts_with("plugins/load/");
    let with_io: Vec<_> = [API_SERVER, NETWORK, FILES]
        .into_iter()
        .flatten()
        .filter(|path| is_pure(path))
        .collect();
    assert_eq!(with_io, Vec::<&&str>::new());
    let sources = sources();
    let pure: Vec<_> = sources.iter().filter(|(path, _)| is_pure(path)).collect();
    assert!(pure.len() > 20, "only {} files of plugins are pure", pure.len());
    let imports_load = |code: &str| {
        code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
            .any(|word| {
                word.starts_with("load::") || word.contains("::load::") || word.ends_with("plugins::load")
            })
    };
    let importing: Vec<_> = pure.iter().filter(|(_, code)| imports_load(code)).collect();
    assert_eq!(importing, Vec::<&&(String, String)>::new());
}
