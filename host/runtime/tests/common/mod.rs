//! Components from text, for tests.

#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dask_operator_runtime::contract::{Observation, SchedulerState};
use dask_operator_runtime::{Component, Engine, Limits, LoadError};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Loads a file of `plugins/hostile`.
pub fn load(engine: &Engine, name: &str, limits: Limits) -> Result<Component, LoadError> {
    Component::load(engine, name, &bytes(name), limits)
}

/// Loads the component that does everything right.
pub fn load_good(engine: &Engine) -> Component {
    Component::load(engine, "good", &good(), Limits::default()).expect("a good component")
}

/// A file of `plugins/hostile` as a component.
pub fn bytes(name: &str) -> Vec<u8> {
    component(&read(&format!("{name}.wat")))
}

/// The component that does everything right.
pub fn good() -> Vec<u8> {
    component("")
}

/// What a component is asked when it does not matter what.
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

/// Makes a component of a text: a whole one, or the parts in which it differs from the
/// template.
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

/// The name under which a form exports itself.
fn export(form: &str) -> Option<&str> {
    form.split_once("(export \"")?
        .1
        .split_once('"')
        .map(|(name, _)| name)
}

/// The outermost parentheses of a text, each with what is in it.
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
