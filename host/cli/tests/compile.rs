//! Tests of `dask-operator compile`, the process that the operator starts to compile a component.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dask_operator_components as components;
use dask_operator_runtime::{
    COMPILER_FAILED, CallLimits, Compiled, Compiling, Component, Engine, EngineConfig,
};

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
fn the_compiled_component_is_in_the_cache() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = dir.path().join("cache");
    let output = compile(&cache, components::AUTOSCALER.bytes);
    assert!(output.status.success(), "{output:?}");

    // The engine has the operator's configuration, so it can use the compiled component.
    let config = EngineConfig {
        cache: Some(cache.into()),
        ..EngineConfig::default()
    };
    let engine = Engine::new(config).expect("an engine");
    let component = Component::load(
        &engine,
        "test",
        components::AUTOSCALER.bytes,
        CallLimits::default(),
    );
    let compiled = component.expect("a component").compiled();
    assert!(matches!(compiled, Compiled::Cached(_)), "{compiled:?}");
}

/// A component is not blamed if its code does not fit on the disk.
#[test]
fn an_unusable_compiler_has_its_own_exit_code() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = compile(file.path(), components::AUTOSCALER.bytes);
    assert_eq!(output.status.code(), Some(COMPILER_FAILED.into()), "{output:?}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = compile(&dir.path().join("cache"), b"no component");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// Limits that the operator passes for components of tenants.
const TENANT_LIMITS: [&str; 6] = [
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
    let mut arguments = TENANT_LIMITS.to_vec();
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
        Component::load_compiled(&engine, "test", bytes, CallLimits::default(), compiling)
    };
    let own = load(&Compiling::of_tenant("team-a")).expect("a component");
    assert!(matches!(own.compiled(), Compiled::Cached(_)));
    // A tenant does not get a component that was compiled for another one.
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
fn the_error_is_a_single_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = compile(&dir.path().join("cache"), b"\0asm\x0d\0\x01\0 nonsense");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(
        stderr.trim_end().lines().count() == 1 && stderr.starts_with("error: not valid: "),
        "{stderr}"
    );
}
