//! Compiled components are kept, and used only when they are what was kept.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{good, observation};
use dask_operator_runtime::{Compiled, Component, Engine, EngineConfig, Interface, Limits};

fn load(cache: &Path) -> Component {
    let config = EngineConfig {
        cache_dir: Some(cache.to_owned()),
        ..EngineConfig::default()
    };
    let engine = Engine::new(config).expect("an engine");
    let component = Component::load(&engine, "good", &good(), Limits::default()).expect("a component");
    component
        .plan(Interface::Cluster, &observation())
        .expect("a call")
        .expect("a plan");
    component
}

fn artefact(cache: &Path) -> PathBuf {
    let mut files = fs::read_dir(cache)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path());
    files
        .find(|path| path.extension().is_some_and(|end| end == "cwasm"))
        .expect("an artefact")
}

#[test]
fn what_was_compiled_is_used_again_unless_it_is_damaged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    assert!(matches!(load(&cache).compiled(), Compiled::Now(_)));
    assert!(matches!(load(&cache).compiled(), Compiled::Cached(_)));

    let artefact = artefact(&cache);
    let whole = fs::read(&artefact).expect("an artefact");

    // One byte of code: the header is fine.
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    fs::write(&artefact, &damaged).expect("written");
    assert!(matches!(load(&cache).compiled(), Compiled::Now(_)));
    assert!(matches!(load(&cache).compiled(), Compiled::Cached(_)));

    fs::write(&artefact, &whole[..middle]).expect("written");
    assert!(matches!(load(&cache).compiled(), Compiled::Now(_)));

    fs::remove_file(artefact.with_extension("sha256")).expect("removed");
    assert!(matches!(load(&cache).compiled(), Compiled::Now(_)));
    assert_eq!(fs::read(&artefact).expect("an artefact").len(), whole.len());
}

#[test]
fn no_cache_is_fine() {
    let engine = Engine::new(EngineConfig::default()).expect("an engine");
    let component = Component::load(&engine, "good", &good(), Limits::default()).expect("a component");
    assert!(matches!(component.compiled(), Compiled::Now(_)));
    let description = component.description();
    assert_eq!(
        (description.name.as_str(), description.version.as_str()),
        ("hostile", "1.0.0")
    );
    assert_eq!(component.interfaces(), [Interface::Cluster]);
}

#[test]
fn a_cache_that_can_not_be_written_is_said() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let config = EngineConfig {
        cache_dir: Some(file.path().to_owned()),
        ..EngineConfig::default()
    };
    let error = Engine::new(config)
        .expect_err("a file is no directory")
        .to_string();
    assert!(error.contains("not a directory"), "{error}");
}
