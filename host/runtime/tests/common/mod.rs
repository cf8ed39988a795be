//! Test components, built from WebAssembly text.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of this module"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dask_operator_runtime::contract::{Observation, SchedulerState};
use dask_operator_runtime::{CallLimits, Component, Engine, LoadError};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Returns the path of a file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Loads the component of a file of `plugins/hostile`.
pub fn load(engine: &Engine, name: &str, limits: CallLimits) -> Result<Component, LoadError> {
    Component::load(engine, name, &bytes(name), limits)
}

/// Loads the well-behaved component.
pub fn load_good(engine: &Engine) -> Component {
    Component::load(engine, "good", &good(), CallLimits::default()).expect("a good component")
}

/// Returns the component of a file of `plugins/hostile`.
pub fn bytes(name: &str) -> Vec<u8> {
    component(&read(&format!("{name}.wat")))
}

/// Returns the well-behaved component.
pub fn good() -> Vec<u8> {
    component("")
}

/// Returns a minimal observation, for tests that do not depend on its content.
pub fn observation() -> Observation {
    Observation {
        parent: r#"{"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster"}"#.to_owned(),
        children: Vec::new(),
        related: Vec::new(),
        scheduler: SchedulerState::NotAsked,
        now: 0,
        seed: 0,
        settings: "{}".to_owned(),
    }
}

fn read(name: &str) -> String {
    let path = repository("plugins/hostile").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Builds a component from WebAssembly text. The text is a whole component or module, or the
/// parts that replace parts of the template.
fn component(text: &str) -> Vec<u8> {
    let forms = forms(text);
    if forms
        .iter()
        .any(|form| form.starts_with("(component") || form.starts_with("(module"))
    {
        return wat::parse_str(text).expect("WebAssembly text");
    }
    let replaced: BTreeSet<_> = forms.iter().filter_map(|form| export(form)).collect();
    let template = read("template/plugin.wat");
    let kept = self::forms(&template)
        .into_iter()
        .filter(|form| export(form).is_none_or(|name| !replaced.contains(name)));
    let fields: Vec<_> = kept.chain(forms.iter().copied()).collect();
    let mut module = wat::parse_str(format!("(module\n{}\n)", fields.join("\n"))).expect("WebAssembly text");

    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(repository("wit")).expect("the contract");
    let world = resolve
        .select_world(&[package], Some("cluster-plugin"))
        .expect("a world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .expect("a component")
}

/// Returns the export name of a form, or `None` if it has none.
fn export(form: &str) -> Option<&str> {
    form.split_once("(export \"")?
        .1
        .split_once('"')
        .map(|(name, _)| name)
}

/// Returns the outermost parenthesised forms of a text.
fn forms(text: &str) -> Vec<&str> {
    let mut forms = Vec::new();
    let (mut depth, mut start) = (0, 0);
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b';' => {
                bytes.find(|(_, byte)| *byte == b'\n');
            }
            b'"' => {
                let mut escaped = false;
                bytes.find(|(_, byte)| {
                    let end = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    end
                });
            }
            b'(' => {
                if depth == 0 {
                    start = at;
                }
                depth += 1;
            }
            b')' => {
                depth -= 1;
                if depth == 0 {
                    forms.push(&text[start..=at]);
                }
            }
            _ => {}
        }
    }
    forms
}
