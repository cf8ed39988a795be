//! `dask-operator compile`, the process that the operator starts to compile a component.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dask_operator_components as components;
use dask_operator_runtime::{COMPILER_FAILED, Compiled, Compiling, Component, Engine, EngineConfig, Limits};

fn compile(cache: &Path, wasm: &[u8]) -> Output {
    compile_within(cache, wasm, &[])
}

fn compile_within(cache: &Path, wasm: &[u8], limits: &[&str]) -> Output {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(wasm).expect("written");
    Command::new(env!("CARGO_BIN_EXE_dask-operator"))
        .arg("compile")
        .arg("--cache-dir")
        .arg(cache)
        .args(limits)
        .stdin(Stdio::from(File::open(file.path()).expect("the file")))
        .output()
        .expect("the program runs")
}

#[test]
fn what_it_compiled_is_in_the_cache() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    let output = compile(&cache, components::AUTOSCALER.bytes);
    assert!(output.status.success(), "{output:?}");

    // As the operator's own engine is: what one compiled, the other can use.
    let config = EngineConfig {
        cache: Some(cache.into()),
        ..EngineConfig::default()
    };
    let engine = Engine::new(config).expect("an engine");
    let component = Component::load(&engine, "test", components::AUTOSCALER.bytes, Limits::default());
    let compiled = component.expect("a component").compiled();
    assert!(matches!(compiled, Compiled::Cached(_)), "{compiled:?}");
}

/// Nothing is held against a component whose code finds no room on the disk.
#[test]
fn who_can_not_do_its_work_says_so_by_how_it_ends() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = compile(file.path(), components::AUTOSCALER.bytes);
    assert_eq!(output.status.code(), Some(COMPILER_FAILED.into()), "{output:?}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = compile(&dir.path().join("cache"), b"no component");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// What the operator says of the limits for components of tenants.
const OF_TENANTS: [&str; 6] = [
    "--memory",
    "805306368",
    "--processor-seconds",
    "30",
    "--output",
    "134217728",
];

#[test]
fn a_component_of_a_tenant_compiles_within_its_limits() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    let mut arguments = OF_TENANTS.to_vec();
    arguments.extend(["--owner", "team-a"]);
    let output = compile_within(&cache, components::WORKER_GROUP.bytes, &arguments);
    assert!(output.status.success(), "{output:?}");

    let config = EngineConfig {
        cache: Some(cache.into()),
        ..EngineConfig::default()
    };
    let engine = Engine::new(config).expect("an engine");
    let load = |compiling: &Compiling| {
        let bytes = components::WORKER_GROUP.bytes;
        Component::load_compiled(&engine, "test", bytes, Limits::default(), compiling)
    };
    let own = load(&Compiling::of_tenant("team-a")).expect("a component");
    assert!(matches!(own.compiled(), Compiled::Cached(_)));
    // Another tenant does not get what was compiled for this one.
    assert!(load(&Compiling::of_tenant("team-b")).is_err());
}

#[test]
fn a_compiler_that_takes_more_memory_than_it_may_ends() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    let output = compile_within(&cache, components::WORKER_GROUP.bytes, &["--memory", "1000000"]);
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn what_is_wrong_is_said_in_the_last_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = compile(&dir.path().join("cache"), b"\0asm\x0d\0\x01\0 nonsense");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.trim_end().lines().count() == 1 && said.starts_with("error: not valid: "),
        "{said}"
    );
}
