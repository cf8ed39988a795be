//! From WebAssembly to machine code: from the cache, or by the compiler, which runs in a process of
//! its own. Only where none is named, as in tests and tools, this process compiles.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

use crate::artefacts::Artefacts;
use crate::compiler::Failed;
use crate::engine::CompileTurn;
use crate::shape::Shape;
use crate::{Digest, Engine, LoadError, Unfit, trusted};

/// Where the machine code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiled {
    /// From the cache, in this time.
    Cached(Duration),
    /// Compiled now, in this time.
    Now(Duration),
}

/// How a component is compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiling {
    /// What it may take.
    pub limits: CompileLimits,
    /// Whose it is: compiled components of each owner are kept apart. None for those that whoever runs this program has chosen;
    /// only they are compiled in this process where no other one is named for it.
    pub owner: Option<String>,
}

impl Compiling {
    /// For components that people bring along who are not trusted with this machine.
    #[must_use]
    pub fn of_tenant(owner: &str) -> Self {
        Self {
            limits: CompileLimits::OF_TENANTS,
            owner: Some(owner.to_owned()),
        }
    }
}

/// What compiling a component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Addresses of the compiler's process, in bytes: its memory, and as much again for what it never uses. It gets less
    /// where a part of the container's memory is less.
    pub memory: u64,
    /// Time of all its threads.
    pub processor: Duration,
    /// Time from its start to its end.
    pub time: Duration,
    /// Bytes of the compiled component.
    pub output: u64,
    /// Its threads.
    pub threads: usize,
    /// How large the component's parts may be; where there is none, they are not looked at.
    pub shape: Option<Shape>,
}

impl CompileLimits {
    /// For components of tenants: one of a megabyte takes a tenth of that.
    pub const OF_TENANTS: Self = Self {
        memory: 768 << 20,
        processor: Duration::from_secs(30),
        time: Duration::from_secs(90),
        output: 128 << 20,
        threads: 2,
        shape: Some(Shape::OF_TENANTS),
    };
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            memory: 4 << 30,
            processor: Duration::from_secs(300),
            time: Duration::from_secs(600),
            output: 384 << 20,
            threads: thread::available_parallelism().map_or(1, usize::from).min(4),
            shape: None,
        }
    }
}

/// What a compiler's process may take: what it is told by its arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Addresses, in bytes.
    pub memory: Option<u64>,
    /// Seconds of all its threads.
    pub processor_seconds: Option<u64>,
    /// Bytes of a file that it writes.
    pub output: Option<u64>,
}

impl ProcessLimits {
    /// Limits this process, for ever. It leaves the processors to others, no copy of its memory if it crashes, and is the
    /// first to be ended where memory is short.
    ///
    /// # Errors
    ///
    /// When the system refuses it.
    pub fn impose(&self) -> io::Result<()> {
        let limits = [
            (Resource::As, self.memory),
            (Resource::Cpu, self.processor_seconds),
            (Resource::Fsize, self.output),
            (Resource::Core, Some(0)),
        ];
        for (resource, most) in limits {
            let Some(most) = most else {
                continue;
            };
            // Who has its processor time used up is told so first, and ended a second later.
            let beyond = most.saturating_add(1);
            let maximum = getrlimit(resource).maximum.unwrap_or(u64::MAX);
            let limit = Rlimit {
                current: Some(most.min(maximum)),
                maximum: Some(beyond.min(maximum)),
            };
            setrlimit(resource, limit)?;
        }
        nice(NICE)?;
        // Where that is not to be had, others are as likely.
        let _ = fs::write("/proc/self/oom_score_adj", "1000");
        Ok(())
    }
}

/// By how much a compiler is nicer than the program that started it.
const NICE: i32 = 10;

/// Compiles a component of `owner` and puts it into the engine's cache: what a [`Compiler`](crate::Compiler) does.
///
/// # Errors
///
/// When it is no component, there is no cache, or the cache can't be written.
pub fn compile_into_cache(engine: &Engine, wasm: &[u8], owner: Option<&str>) -> Result<(), LoadError> {
    let digest = Digest::of(wasm);
    let compile = || {
        let cache = engine
            .artefacts()
            .ok_or_else(|| Unfit::NotCompiled("there is no cache to put it into".to_owned()))?;
        let component =
            wasmtime::component::Component::from_binary(engine.wasmtime(), wasm).map_err(invalid)?;
        cache
            .store(owner, &digest, &component.serialize().map_err(invalid)?)
            .map_err(|error| Unfit::NotCompiled(format!("the result can't be kept: {error}")))
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

pub(crate) fn invalid_code(error: wasmparser::BinaryReaderError) -> Unfit {
    Unfit::Invalid(error.to_string())
}

/// Waits until a component with an owner can be compiled, and loading it waits for no other one; none where it was compiled
/// before, or is compiled beside others.
#[must_use]
pub fn compile_turn(engine: &Engine, wasm: &[u8], compiling: &Compiling) -> Option<CompileTurn> {
    let owner = compiling.owner.as_deref()?;
    let artefacts = engine.artefacts()?;
    let is_compiled = artefacts.has(Some(owner), &Digest::of(wasm));
    (!is_compiled).then(|| engine.compiles())
}

/// A component's machine code, and how it was come by. Who has no `turn` waits for one where it is needed.
pub(crate) fn machine_code(
    engine: &Engine,
    wasm: &[u8],
    digest: &Digest,
    compiling: &Compiling,
    turn: Option<CompileTurn>,
) -> Result<(wasmtime::component::Component, Compiled), Unfit> {
    let started = Instant::now();
    let owner = compiling.owner.as_deref();
    let cached = || engine.artefacts()?.load(engine.wasmtime(), owner, digest);
    if let Some(component) = cached() {
        return Ok((component, Compiled::Cached(started.elapsed())));
    }
    let not_again = || match owner.and_then(|_| engine.uncompiled().why(digest, Instant::now())) {
        Some(why) => Err(Unfit::NotAgain(why)),
        None => Ok(()),
    };
    not_again()?;
    if let Some(shape) = &compiling.limits.shape {
        shape.check(wasm)?;
    }
    // Tenants' one after the other. Meanwhile another one may have brought the same along.
    let _turn = turn.or_else(|| owner.map(|_| engine.compiles()));
    if let Some(component) = owner.and_then(|_| cached()) {
        return Ok((component, Compiled::Cached(started.elapsed())));
    }
    not_again()?;
    let (Some(compiler), Some(cache)) = (engine.compiler(), engine.artefacts()) else {
        if owner.is_some() {
            let why = "components of tenants are compiled by a process of its own only, which needs a folder to put them into \
                       (--cache-dir)";
            return Err(Unfit::NotCompiled(why.to_owned()));
        }
        let component = compile_here(engine, wasm, digest)?;
        return Ok((component, Compiled::Now(started.elapsed())));
    };
    compiler
        .run(wasm, compiling, cache)
        .map_err(|failed| match failed {
            Failed::NotRun(error) => {
                Unfit::NotCompiled(format!("{} can't do it: {error}", compiler.program.display()))
            }
            Failed::Said(Unfit::Compiler(why)) if owner.is_some() => {
                Unfit::Compiler(engine.uncompiled().add(digest, &why, Instant::now()))
            }
            Failed::Said(unfit) => unfit,
        })?;
    let component = cached().ok_or_else(|| {
        let why = "the compiler has put nothing into the cache that can be used: look whether there is room for it \
                   (--cache-dir)";
        Unfit::NotCompiled(why.to_owned())
    })?;
    Ok((component, Compiled::Now(started.elapsed())))
}

/// Compiles a component in this process, without a limit.
fn compile_here(
    engine: &Engine,
    wasm: &[u8],
    digest: &Digest,
) -> Result<wasmtime::component::Component, Unfit> {
    let component = wasmtime::component::Component::from_binary(engine.wasmtime(), wasm).map_err(invalid)?;
    let component = match engine.artefacts() {
        Some(cache) => keep(engine, cache, digest, component)?,
        None => component,
    };
    trusted::give_back_memory();
    Ok(component)
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
    match cache.store(None, digest, &bytes) {
        Ok(()) => Ok(cache.load(engine.wasmtime(), None, digest).unwrap_or(component)),
        Err(error) => {
            tracing::warn!("a compiled component can't be kept, so the next start takes as long: {error}");
            Ok(component)
        }
    }
}
