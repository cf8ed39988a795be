//! Child process that compiles a component under resource limits.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::artefacts::Artefacts;
use crate::{Compiling, ContainerMemory, LoadErrorKind};

/// Maximum address space of a compiler of components that have an owner, in quarters of the container's memory.
const QUARTERS_OF_OWNERS: u64 = 1;

/// Maximum address space of a compiler of components without an owner, in quarters of the container's memory.
const QUARTERS: u64 = 3;

/// Minimum address space that a compiler needs, in bytes.
const MIN_ADDRESS_SPACE: u64 = 384 << 20;

/// Exit status of a compiler that failed for a reason that the component did not cause.
pub const COMPILER_FAILED: u8 = 75;

/// Maximum number of bytes that are read from a compiler's standard error.
const MAX_STDERR_BYTES: u64 = 64 << 10;

/// Program that compiles a component.
///
/// The program reads the component from its standard input and, with
/// [`compile_into_cache`](crate::compile_into_cache), stores the result in the cache of the engine that started it. It
/// exits with 0 on success. Otherwise it writes the problem to its standard error, and exits with [`COMPILER_FAILED`] if
/// the component did not cause the problem. After its own arguments it receives `--memory`, `--processor-seconds` and
/// `--output`, which are its [`ProcessLimits`](crate::ProcessLimits), and `--owner` if the component has an owner.
///
/// A compiler needs memory for its own code and for at least ten times the size of the component. A separate process
/// returns all of it to the system when it exits. A component that makes the compiler crash, or use all available
/// resources, affects only that process.
#[derive(Clone, Debug)]
pub struct CompilerProgram {
    /// The executable file.
    pub program: PathBuf,
    /// The arguments that precede those that the runtime adds.
    pub arguments: Vec<OsString>,
    /// The memory of the container that this process and the compiler share; `None` if there is no limit. A compiler gets a
    /// part of it and is killed before all of it is used, because otherwise the kernel would kill this process too.
    pub memory: Option<ContainerMemory>,
}

/// Failure of a compiler process.
pub(crate) enum CompileError {
    /// The process could not be started or could not receive the component.
    Io(io::Error),
    /// The process ran and failed.
    Unfit(LoadErrorKind),
}

impl CompilerProgram {
    /// Returns the limit on the compiler's address space, in bytes.
    fn address_space(&self, compiling: &Compiling) -> u64 {
        let quarters = match compiling.owner {
            Some(_) => QUARTERS_OF_OWNERS,
            None => QUARTERS,
        };
        let memory = self.memory.as_ref();
        let most = memory.map_or(u64::MAX, |memory| {
            (memory.limit() / 4 * quarters).max(MIN_ADDRESS_SPACE)
        });
        compiling.limits.memory.min(most)
    }

    /// Runs the compiler, which compiles a component into the cache.
    pub(crate) fn run(
        &self,
        wasm: &[u8],
        compiling: &Compiling,
        cache: &Artefacts,
    ) -> Result<(), CompileError> {
        let limits = &compiling.limits;
        let mut process = Command::new(&self.program)
            .args(&self.arguments)
            .args(["--memory".to_owned(), self.address_space(compiling).to_string()])
            .args(["--processor-seconds".to_owned(), seconds(limits.processor)])
            .args(["--output".to_owned(), limits.output.to_string()])
            .args(
                compiling
                    .owner
                    .iter()
                    .flat_map(|owner| ["--owner", owner.as_str()]),
            )
            // The address space that each thread reserves counts too, whether used or not.
            .env("RAYON_NUM_THREADS", limits.threads.to_string())
            .env("MALLOC_ARENA_MAX", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(CompileError::Io)?;
        let run = supervise(&mut process, wasm, limits.time, self.memory.as_ref());
        if run.is_err() {
            // The process may already have exited.
            let _ = process.kill();
            let _ = process.wait();
        }
        if !matches!(&run, Ok((_, _, Outcome::Exited(status))) if status.success()) {
            cache.remove_temporary_files_of(process.id());
        }
        let (written, stderr, outcome) = run.map_err(CompileError::Io)?;
        let status = match outcome {
            Outcome::Exited(status) => status,
            Outcome::TimedOut => {
                let after = limits.time.as_secs_f32();
                let late = LoadErrorKind::Late(format!("it was not compiled after {after} s"));
                return Err(CompileError::Unfit(late));
            }
            Outcome::OutOfMemory => {
                let message = "hardly any of the container's memory was left while it was compiled: it is tried again \
                               later, and more memory for the operator may help";
                return Err(CompileError::Unfit(LoadErrorKind::NoMemory(message.to_owned())));
            }
        };
        if status.success() {
            return written.map_err(CompileError::Io);
        }
        let stderr = String::from_utf8_lossy(&stderr);
        let last = stderr
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let last = last.trim_start_matches("error: ");
        if status.code() == Some(COMPILER_FAILED.into()) {
            return Err(CompileError::Unfit(LoadErrorKind::NotCompiled(last.to_owned())));
        }
        let problem = match status.signal() {
            Some(libc::SIGXCPU) => format!(
                "compiling it takes more than {} s of a processor",
                limits.processor.as_secs()
            ),
            Some(libc::SIGXFSZ) => format!(
                "the compiled component is larger than {} MiB",
                limits.output >> 20
            ),
            Some(libc::SIGKILL) => {
                let problem = "the compiler was ended by signal 9, maybe for want of memory";
                return Err(CompileError::Unfit(LoadErrorKind::NoMemory(problem.to_owned())));
            }
            Some(signal) => format!("the compiler was ended by signal {signal}, maybe for want of memory"),
            None if last.is_empty() => format!("the compiler failed ({status}) and said nothing"),
            None => last.to_owned(),
        };
        Err(CompileError::Unfit(LoadErrorKind::Compiler(problem)))
    }
}

/// Formats a time as whole seconds, at least one.
fn seconds(time: Duration) -> String {
    time.as_secs().max(1).to_string()
}

/// Reason for the end of a compiler process.
enum Outcome {
    /// The process exited, or the system killed it.
    Exited(ExitStatus),
    /// The process was killed because it took too long.
    TimedOut,
    /// The process was killed because hardly any memory was left.
    OutOfMemory,
}

/// Result of writing the component to a compiler's standard input, the text of its standard error, and its outcome.
type Run = (io::Result<()>, Vec<u8>, Outcome);

/// Writes the component to a compiler's standard input, reads its standard error, and waits for its end.
fn supervise(
    process: &mut Child,
    wasm: &[u8],
    limit: Duration,
    memory: Option<&ContainerMemory>,
) -> io::Result<Run> {
    let (stdin, stderr) = (process.stdin.take(), process.stderr.take());
    thread::scope(|scope| {
        let write = || stdin.map_or(Ok(()), |mut stdin| stdin.write_all(wasm));
        let read = || {
            let mut text = Vec::new();
            // A read error only shortens the message.
            let _ = stderr.map(|stderr| stderr.take(MAX_STDERR_BYTES).read_to_end(&mut text));
            text
        };
        let writer = thread::Builder::new().spawn_scoped(scope, write)?;
        let reader = thread::Builder::new().spawn_scoped(scope, read)?;
        let outcome = wait(process, limit, memory);
        if outcome.is_err() {
            // Otherwise the threads would wait for the process.
            let _ = process.kill();
        }
        let outcome = outcome?;
        let written = writer.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        Ok((written, reader.join().unwrap_or_default(), outcome))
    })
}

/// Waits until a process exits. Kills it when the time limit has passed or the container's memory is nearly used up.
fn wait(process: &mut Child, limit: Duration, memory: Option<&ContainerMemory>) -> io::Result<Outcome> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(Outcome::Exited(status));
        }
        let outcome = if Instant::now() >= end {
            Some(Outcome::TimedOut)
        } else {
            let is_exhausted = memory.is_some_and(|memory| memory.is_exhausted_by(process.id()));
            is_exhausted.then_some(Outcome::OutOfMemory)
        };
        if let Some(outcome) = outcome {
            process.kill()?;
            process.wait()?;
            return Ok(outcome);
        }
        thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn compiler(script: &str, memory: ContainerMemory) -> CompilerProgram {
        CompilerProgram {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            memory: Some(memory),
        }
    }

    #[rstest]
    #[case::usual(2 << 30, 512 << 20, 1536 << 20)]
    #[case::large(64 << 30, 768 << 20, 4 << 30)]
    #[case::small(256 << 20, MIN_ADDRESS_SPACE, MIN_ADDRESS_SPACE)]
    fn address_space_is_a_part_of_the_containers_memory(
        #[case] limit: u64,
        #[case] of_tenant: u64,
        #[case] of_cluster: u64,
    ) -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let compiler = compiler("", ContainerMemory::in_folder(folder.path(), limit, 0)?);
        let of = |compiling: &Compiling| compiler.address_space(compiling);
        assert_eq!(of(&Compiling::of_tenant("a")), of_tenant);
        assert_eq!(of(&Compiling::default()), of_cluster);
        Ok(())
    }

    /// If the container runs out of memory, the kernel also kills the process that started the compiler.
    #[test]
    fn the_compiler_is_killed_before_the_container_runs_out_of_memory() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let cache = Artefacts::open(&folder.path().join("cache"), &wasmtime::Engine::default())
            .map_err(io::Error::other)?;
        for (used, expected) in [(999, true), (100, false)] {
            let memory = ContainerMemory::in_folder(folder.path(), 1000, used)?;
            let script = "cat >/dev/null; sleep 0.2";
            let ran = compiler(script, memory).run(b"wasm", &Compiling::of_tenant("a"), &cache);
            assert_eq!(
                matches!(ran, Err(CompileError::Unfit(LoadErrorKind::NoMemory(_)))),
                expected,
                "{used}"
            );
        }
        Ok(())
    }
}
