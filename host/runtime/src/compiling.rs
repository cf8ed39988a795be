//! Compilation of WebAssembly to machine code, with a cache.
//!
//! A compiler in a separate process compiles what is not in the cache. This process compiles only if no compiler is
//! configured, as in tests and tools.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

use crate::artefacts::Artefacts;
use crate::compiler::CompileError;
use crate::engine::CompilePermit;
use crate::shape::Shape;
use crate::{Digest, Engine, LoadError, LoadErrorKind, unsafe_ops};

/// Source of a component's machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiled {
    /// Loaded from the cache, in this time.
    Cached(Duration),
    /// Compiled, in this time.
    Now(Duration),
}

/// Settings for the compilation of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiling {
    /// Resource limits of the compilation.
    pub limits: CompileLimits,
    /// Owner of the component. The compiled components of each owner are stored separately. `None` for components that the
    /// administrator or user of this program has chosen; only these are compiled in this process if no compiler is configured.
    pub owner: Option<String>,
}

impl Compiling {
    /// Returns the settings for an untrusted component of a tenant.
    #[must_use]
    pub fn of_tenant(owner: &str) -> Self {
        Self {
            limits: CompileLimits::OF_TENANTS,
            owner: Some(owner.to_owned()),
        }
    }
}

/// Resource limits of a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space of the compiler's process, in bytes: about twice the memory that it uses. The process gets less if its
    /// part of the container's memory is less.
    pub memory: u64,
    /// Processor time of all threads.
    pub processor: Duration,
    /// Wall-clock time of the process.
    pub time: Duration,
    /// Size of the compiled component, in bytes.
    pub output: u64,
    /// Number of threads.
    pub threads: usize,
    /// Size limits for the component's parts; `None` if they are not checked.
    pub shape: Option<Shape>,
}

impl CompileLimits {
    /// Limits for components of tenants. A component of one megabyte takes a tenth of them.
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

/// Resource limits of a compiler's process, which it receives as arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Address space, in bytes; `None` for no limit.
    pub memory: Option<u64>,
    /// Processor time of all threads, in seconds; `None` for no limit.
    pub processor_seconds: Option<u64>,
    /// Size of each file that the process writes, in bytes; `None` for no limit.
    pub output: Option<u64>,
}

impl ProcessLimits {
    /// Applies the limits to this process, irrevocably. Also lowers its scheduling priority, disables core dumps, and makes
    /// it the kernel's first candidate to kill when memory is short.
    ///
    /// # Errors
    ///
    /// Returns an error if the system refuses a limit or the priority.
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
            // At the soft limit on processor time the process receives SIGXCPU; at the hard limit, a second later, it is
            // killed.
            let beyond = most.saturating_add(1);
            let maximum = getrlimit(resource).maximum.unwrap_or(u64::MAX);
            let limit = Rlimit {
                current: Some(most.min(maximum)),
                maximum: Some(beyond.min(maximum)),
            };
            setrlimit(resource, limit)?;
        }
        nice(NICENESS)?;
        // If this fails, the kernel may choose another process.
        let _ = fs::write("/proc/self/oom_score_adj", "1000");
        Ok(())
    }
}

/// Increment of a compiler's niceness over that of the program that started it.
const NICENESS: i32 = 10;

/// Compiles a component of `owner` and stores it in the engine's cache. This is the task of a
/// [`CompilerProgram`](crate::CompilerProgram).
///
/// # Errors
///
/// Returns an error if `wasm` is not a valid component, the engine has no cache, or the cache can't be written.
pub fn compile_into_cache(engine: &Engine, wasm: &[u8], owner: Option<&str>) -> Result<(), LoadError> {
    let digest = Digest::of(wasm);
    let compile = || {
        let cache = engine
            .artefacts()
            .ok_or_else(|| LoadErrorKind::NotCompiled("there is no cache to store it in".to_owned()))?;
        let component =
            wasmtime::component::Component::from_binary(engine.wasmtime(), wasm).map_err(invalid)?;
        cache
            .store(owner, &digest, &component.serialize().map_err(invalid)?)
            .map_err(|error| LoadErrorKind::NotCompiled(format!("the result can't be stored: {error}")))
    };
    compile().map_err(|reason| LoadError {
        origin: "the input".to_owned(),
        digest,
        reason: Box::new(reason),
    })
}

pub(crate) fn invalid(error: wasmtime::Error) -> LoadErrorKind {
    LoadErrorKind::Invalid(format!("{error:#}"))
}

/// Waits for the permit to compile a component that has an owner, so that loading it with that permit does not wait for
/// another compilation. Returns `None` without waiting if no permit is needed: the component has no owner, there is no cache,
/// or it is compiled already.
#[must_use]
pub fn compile_permit(engine: &Engine, wasm: &[u8], compiling: &Compiling) -> Option<CompilePermit> {
    let owner = compiling.owner.as_deref()?;
    let artefacts = engine.artefacts()?;
    let is_compiled = artefacts.contains(Some(owner), &Digest::of(wasm));
    (!is_compiled).then(|| engine.compile_permit())
}

/// Returns a component's machine code and its source. Waits for a permit if one is needed and `permit` is `None`.
pub(crate) fn machine_code(
    engine: &Engine,
    wasm: &[u8],
    digest: &Digest,
    compiling: &Compiling,
    permit: Option<CompilePermit>,
) -> Result<(wasmtime::component::Component, Compiled), LoadErrorKind> {
    let started = Instant::now();
    let owner = compiling.owner.as_deref();
    let cached = || engine.artefacts()?.load(engine.wasmtime(), owner, digest);
    if let Some(component) = cached() {
        return Ok((component, Compiled::Cached(started.elapsed())));
    }
    let check_not_failed =
        || match owner.and_then(|_| engine.failed_compilations().reason(digest, Instant::now())) {
            Some(reason) => Err(LoadErrorKind::NotAgain(reason)),
            None => Ok(()),
        };
    check_not_failed()?;
    if let Some(shape) = &compiling.limits.shape {
        shape.check(wasm)?;
    }
    // Components of tenants are compiled one at a time. The same component may have been compiled during the wait.
    let _permit = permit.or_else(|| owner.map(|_| engine.compile_permit()));
    if let Some(component) = owner.and_then(|_| cached()) {
        return Ok((component, Compiled::Cached(started.elapsed())));
    }
    check_not_failed()?;
    let (Some(compiler), Some(cache)) = (engine.compiler(), engine.artefacts()) else {
        if owner.is_some() {
            let problem = "components of tenants are compiled only in a separate process, which needs a cache directory \
                           (--cache-dir)";
            return Err(LoadErrorKind::NotCompiled(problem.to_owned()));
        }
        let component = compile_here(engine, wasm, digest)?;
        return Ok((component, Compiled::Now(started.elapsed())));
    };
    compiler
        .run(wasm, compiling, cache)
        .map_err(|error| match error {
            CompileError::Io(error) => {
                LoadErrorKind::NotCompiled(format!("{} can't do it: {error}", compiler.program.display()))
            }
            CompileError::Unfit(LoadErrorKind::Compiler(reason)) if owner.is_some() => {
                LoadErrorKind::Compiler(engine.failed_compilations().add(digest, &reason, Instant::now()))
            }
            CompileError::Unfit(unfit) => unfit,
        })?;
    let component = cached().ok_or_else(|| {
        let problem = "the compiler has put nothing into the cache that can be used: check that the cache directory has \
                       free space (--cache-dir)";
        LoadErrorKind::NotCompiled(problem.to_owned())
    })?;
    Ok((component, Compiled::Now(started.elapsed())))
}

/// Compiles a component in this process, without a limit.
fn compile_here(
    engine: &Engine,
    wasm: &[u8],
    digest: &Digest,
) -> Result<wasmtime::component::Component, LoadErrorKind> {
    let component = wasmtime::component::Component::from_binary(engine.wasmtime(), wasm).map_err(invalid)?;
    let component = match engine.artefacts() {
        Some(cache) => store_and_map(engine, cache, digest, component)?,
        None => component,
    };
    unsafe_ops::release_memory();
    Ok(component)
}

/// Stores a compiled component in the cache and maps it from there, so that the system can reclaim
/// its memory. Returns the given component if the cache can't be used.
fn store_and_map(
    engine: &Engine,
    cache: &Artefacts,
    digest: &Digest,
    component: wasmtime::component::Component,
) -> Result<wasmtime::component::Component, LoadErrorKind> {
    let bytes = component.serialize().map_err(invalid)?;
    match cache.store(None, digest, &bytes) {
        Ok(()) => Ok(cache.load(engine.wasmtime(), None, digest).unwrap_or(component)),
        Err(error) => {
            tracing::warn!(
                "failed to cache a compiled component; it is compiled again at the next start: {error}"
            );
            Ok(component)
        }
    }
}
