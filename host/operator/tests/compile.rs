//! `dask-operator compile`, the process that the operator starts to compile a component.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dask_operator_components as components;
use dask_operator_runtime::{Compiled, Component, Engine, EngineConfig, Limits};

fn compile(cache: &Path, wasm: &[u8]) -> Output {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(wasm).expect("written");
    Command::new(env!("CARGO_BIN_EXE_dask-operator"))
        .arg("compile")
        .arg("--cache-dir")
        .arg(cache)
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
