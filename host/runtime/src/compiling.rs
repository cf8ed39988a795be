//! From WebAssembly to machine code: from the cache, or by the compiler, which runs in a process of
//! its own where there is one for it.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

use crate::artefacts::Artefacts;
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
    /// Whose it is: compiled components of each owner are kept apart, so that nobody has those of another one thrown out. None
    /// for those that whoever runs this program has chosen; only they are compiled in this process where no other one does
    /// it.
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
    /// Addresses of the compiler's process, in bytes: its memory, and as much again for what it never uses.
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
            output: 1 << 30,
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
    /// Limits this process, for ever. It leaves the processors to others, and no copy of its memory if it crashes.
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
        Ok(())
    }
}

/// By how much a compiler is nicer than the program that started it.
const NICE: i32 = 10;

/// What is read of a compiler's messages, in bytes.
const MESSAGES: u64 = 64 << 10;

/// A program that compiles a component: it reads it from its standard input and, with
/// [`compile_into_cache`], puts the result into the cache of the engine that started it. It ends with 0
/// then, and otherwise with what is wrong on its standard error. After its own arguments it gets `--memory`,
/// `--processor-seconds` and `--output`, which are its [`ProcessLimits`], and `--owner` where the component has one.
///
/// A compiler needs memory, ten times a component's size and more, and its own code; a process of its
/// own gives both back when it ends, to the last byte. And a component that the compiler fails on, or that is made to take all
/// there is, takes nothing else with it.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The file to run.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Compiles a component of `owner` and puts it into the engine's cache: what a [`Compiler`] does.
///
/// # Errors
///
/// When it is no component, there is no cache, or the cache can't be written.
pub fn compile_into_cache(engine: &Engine, wasm: &[u8], owner: Option<&str>) -> Result<(), LoadError> {
    let digest = Digest::of(wasm);
    let compile = || {
        let cache = engine
            .artefacts()
            .ok_or_else(|| Unfit::Compiler("there is no cache to put it into".to_owned()))?;
        let component =
            wasmtime::component::Component::from_binary(engine.wasmtime(), wasm).map_err(invalid)?;
        cache
            .store(owner, &digest, &component.serialize().map_err(invalid)?)
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

pub(crate) fn invalid_code(error: wasmparser::BinaryReaderError) -> Unfit {
    Unfit::Invalid(error.to_string())
}

/// A component's machine code, and how it was come by.
pub(crate) fn machine_code(
    engine: &Engine,
    wasm: &[u8],
    digest: &Digest,
    compiling: &Compiling,
) -> Result<(wasmtime::component::Component, Compiled), Unfit> {
    let started = Instant::now();
    let owner = compiling.owner.as_deref();
    let cached = || engine.artefacts()?.load(engine.wasmtime(), owner, digest);
    if let Some(component) = cached() {
        return Ok((component, Compiled::Cached(started.elapsed())));
    }
    if let Some(shape) = &compiling.limits.shape {
        shape.check(wasm)?;
    }
    let mut why = "there is no cache for what is compiled (--cache-dir)".to_owned();
    if let (Some(compiler), Some(_)) = (engine.compiler(), engine.artefacts()) {
        match compiler.run(wasm, compiling) {
            Ok(()) => match cached() {
                Some(component) => return Ok((component, Compiled::Now(started.elapsed()))),
                None => why = "the compiler has put nothing into the cache that can be used".to_owned(),
            },
            Err(Failed::NotRun(error)) => why = format!("{}: {error}", compiler.program.display()),
            Err(Failed::Said(unfit)) => return Err(unfit),
        }
        if owner.is_none() {
            tracing::warn!("compiles in this process, which takes memory: {why}");
        }
    }
    if owner.is_some() {
        return Err(Unfit::Compiler(format!(
            "components of tenants are compiled by a process of its own, and there can be none: {why}"
        )));
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
    match cache.store(None, digest, &bytes) {
        Ok(()) => Ok(cache.load(engine.wasmtime(), None, digest).unwrap_or(component)),
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
    fn run(&self, wasm: &[u8], compiling: &Compiling) -> Result<(), Failed> {
        let limits = &compiling.limits;
        let mut process = Command::new(&self.program)
            .args(&self.arguments)
            .args(["--memory".to_owned(), limits.memory.to_string()])
            .args(["--processor-seconds".to_owned(), seconds(limits.processor)])
            .args(["--output".to_owned(), limits.output.to_string()])
            .args(
                compiling
                    .owner
                    .iter()
                    .flat_map(|owner| ["--owner", owner.as_str()]),
            )
            // Addresses for each thread's memory count too, used or not.
            .env("RAYON_NUM_THREADS", limits.threads.to_string())
            .env("MALLOC_ARENA_MAX", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Failed::NotRun)?;
        let watched = watch(&mut process, wasm, limits.time);
        if watched.is_err() {
            // It may have ended meanwhile.
            let _ = process.kill();
            let _ = process.wait();
        }
        let (given, said, ended) = watched.map_err(Failed::NotRun)?;
        let Some(status) = ended else {
            return Err(Failed::Said(Unfit::Compiler(format!(
                "it was not compiled after {} s",
                limits.time.as_secs_f32()
            ))));
        };
        if status.success() {
            return given.map_err(Failed::NotRun);
        }
        let said = String::from_utf8_lossy(&said);
        let last = said
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let how = match status.signal() {
            Some(libc::SIGXCPU) => format!(
                "compiling it takes more than {} s of a processor",
                limits.processor.as_secs()
            ),
            Some(libc::SIGXFSZ) => format!("compiled, it has more than {} MiB", limits.output >> 20),
            Some(signal) => format!("the compiler was ended by signal {signal}, maybe for want of memory"),
            None if last.is_empty() => format!("the compiler failed ({status}) and said nothing"),
            None => last.trim_start_matches("error: ").to_owned(),
        };
        Err(Failed::Said(Unfit::Compiler(how)))
    }
}

/// Whole seconds, at least one.
fn seconds(time: Duration) -> String {
    time.as_secs().max(1).to_string()
}

/// Whether a compiler took all of its component, what it said, and how it ended; it is ended at the limit.
type Watched = (io::Result<()>, Vec<u8>, Option<ExitStatus>);

/// Gives a compiler its component, listens to it, and waits for it.
fn watch(process: &mut Child, wasm: &[u8], limit: Duration) -> io::Result<Watched> {
    let (stdin, stderr) = (process.stdin.take(), process.stderr.take());
    thread::scope(|scope| {
        let give = || stdin.map_or(Ok(()), |mut stdin| stdin.write_all(wasm));
        let listen = || {
            let mut said = Vec::new();
            // What can't be read is missing in a message.
            let _ = stderr.map(|stderr| stderr.take(MESSAGES).read_to_end(&mut said));
            said
        };
        let given = thread::Builder::new().spawn_scoped(scope, give)?;
        let said = thread::Builder::new().spawn_scoped(scope, listen)?;
        let ended = wait(process, limit)?;
        let given = given.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        Ok((given, said.join().unwrap_or_default(), ended))
    })
}

/// Waits until a process has ended, or ends it; there is no status then.
fn wait(process: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            process.kill()?;
            process.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(20));
    }
}
