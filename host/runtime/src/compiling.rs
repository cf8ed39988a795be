//! From WebAssembly to machine code: from the cache, or by the compiler, which runs in a process of
//! its own where there is one for it.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::artefacts::Artefacts;
use crate::{Digest, Engine, LoadError, Unfit, trusted};

/// Where the machine code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiled {
    /// From the cache, in this time.
    Cached(Duration),
    /// Compiled now, in this time.
    Now(Duration),
}

/// A program that compiles a component: it reads it from its standard input and, with
/// [`compile_into_cache`], puts the result into the cache of the engine that started it. It ends with 0
/// then, and otherwise with what is wrong on its standard error.
///
/// A compiler needs memory, ten times a component's size and more, and its own code; a process of its
/// own gives both back when it ends, to the last byte. And a component that the compiler fails on takes
/// nothing else with it.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The file to run.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Compiles a component and puts it into the engine's cache: what a [`Compiler`] does.
///
/// # Errors
///
/// When it is no component, there is no cache, or the cache can't be written.
pub fn compile_into_cache(engine: &Engine, wasm: &[u8]) -> Result<(), LoadError> {
    let digest = Digest::of(wasm);
    let compile = || {
        let cache = engine
            .artefacts()
            .ok_or_else(|| Unfit::Compiler("there is no cache to put it into".to_owned()))?;
        let component =
            wasmtime::component::Component::from_binary(engine.wasmtime(), wasm).map_err(invalid)?;
        cache
            .store(&digest, &component.serialize().map_err(invalid)?)
            .map_err(|error| Unfit::Compiler(format!("it can't be kept: {error}")))
    };
    compile().map_err(|reason| LoadError {
        origin: "what was read".to_owned(),
        digest,
        reason: Box::new(reason),
    })
}

pub(crate) fn invalid(error: wasmtime::Error) -> Unfit {
    Unfit::Invalid(format!("{error:#}"))
}

/// A component's machine code, and how it was come by.
pub(crate) fn machine_code(
    engine: &Engine,
    wasm: &[u8],
    digest: &Digest,
) -> Result<(wasmtime::component::Component, Compiled), Unfit> {
    let started = Instant::now();
    let cached = || engine.artefacts()?.load(engine.wasmtime(), digest);
    if let Some(component) = cached() {
        return Ok((component, Compiled::Cached(started.elapsed())));
    }
    if let (Some(compiler), Some(_)) = (engine.compiler(), engine.artefacts()) {
        match compiler.run(wasm) {
            Ok(()) => match cached() {
                Some(component) => return Ok((component, Compiled::Now(started.elapsed()))),
                None => tracing::warn!("the compiler has put nothing into the cache that can be used"),
            },
            Err(Failed::NotRun(error)) => {
                tracing::warn!(
                    "compiles in this process, which takes memory: {}: {error}",
                    compiler.program.display()
                );
            }
            Err(Failed::Said(unfit)) => return Err(unfit),
        }
    }
    let component = wasmtime::component::Component::from_binary(engine.wasmtime(), wasm).map_err(invalid)?;
    let compiled = Compiled::Now(started.elapsed());
    let component = match engine.artefacts() {
        Some(cache) => keep(engine, cache, digest, component)?,
        None => component,
    };
    trusted::give_back_memory();
    Ok((component, compiled))
}

/// Puts a compiled component into the cache and maps it from there: it then takes no memory of ours
/// that the system could not take back.
fn keep(
    engine: &Engine,
    cache: &Artefacts,
    digest: &Digest,
    component: wasmtime::component::Component,
) -> Result<wasmtime::component::Component, Unfit> {
    let bytes = component.serialize().map_err(invalid)?;
    match cache.store(digest, &bytes) {
        Ok(()) => Ok(cache.load(engine.wasmtime(), digest).unwrap_or(component)),
        Err(error) => {
            tracing::warn!("a compiled component can't be kept, so the next start takes as long: {error}");
            Ok(component)
        }
    }
}

/// Why a compiler has compiled nothing.
enum Failed {
    /// It could not be started or not be given the component.
    NotRun(io::Error),
    /// It ran.
    Said(Unfit),
}

impl Compiler {
    fn run(&self, wasm: &[u8]) -> Result<(), Failed> {
        let mut process = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Failed::NotRun)?;
        let given = process.stdin.take().map(|mut stdin| stdin.write_all(wasm));
        let ended = process.wait_with_output().map_err(Failed::NotRun)?;
        if ended.status.success() {
            return given.unwrap_or(Ok(())).map_err(Failed::NotRun);
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let last = said
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let how = match ended.status.signal() {
            Some(signal) => format!("the compiler was ended by signal {signal}, maybe for want of memory"),
            None if last.is_empty() => format!("the compiler failed ({}) and said nothing", ended.status),
            None => last.trim_start_matches("error: ").to_owned(),
        };
        Err(Failed::Said(Unfit::Compiler(how)))
    }
}
