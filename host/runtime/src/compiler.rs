//! The process that compiles a component.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::artefacts::Artefacts;
use crate::{Compiling, ContainerMemory, Unfit};

/// How many quarters of the container's memory a compiler may have as addresses, for components that have an owner and others.
const QUARTERS_OF_OWNERS: u64 = 1;
const QUARTERS: u64 = 3;

/// Addresses without which no component is compiled.
const LEAST: u64 = 384 << 20;

/// How a compiler ends that could not do its work for no fault of the component.
pub const COMPILER_FAILED: u8 = 75;

/// What is read of a compiler's messages, in bytes.
const MESSAGES: u64 = 64 << 10;

/// A program that compiles a component: it reads it from its standard input and, with
/// [`compile_into_cache`](crate::compile_into_cache), puts the result into the cache of the engine that started it. It ends with 0
/// then, and otherwise with what is wrong on its standard error: with [`COMPILER_FAILED`] where that is nothing that the component
/// did. After its own arguments it gets `--memory`,
/// `--processor-seconds` and `--output`, which are its [`ProcessLimits`](crate::ProcessLimits), and `--owner` where the component has one.
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
    /// The memory that it has together with this process. A compiler may have a part of it, and is ended before all of it is
    /// used, because the kernel would end this process, too.
    pub memory: Option<ContainerMemory>,
}

/// Why a compiler has compiled nothing.
pub(crate) enum Failed {
    /// It could not be started or not be given the component.
    NotRun(io::Error),
    /// It ran.
    Said(Unfit),
}

impl Compiler {
    /// How many addresses the compiler of such a component gets.
    fn addresses(&self, compiling: &Compiling) -> u64 {
        let quarters = match compiling.owner {
            Some(_) => QUARTERS_OF_OWNERS,
            None => QUARTERS,
        };
        let memory = self.memory.as_ref();
        let most = memory.map_or(u64::MAX, |memory| (memory.limit() / 4 * quarters).max(LEAST));
        compiling.limits.memory.min(most)
    }

    /// Compiles a component into the cache.
    pub(crate) fn run(&self, wasm: &[u8], compiling: &Compiling, cache: &Artefacts) -> Result<(), Failed> {
        let limits = &compiling.limits;
        let mut process = Command::new(&self.program)
            .args(&self.arguments)
            .args(["--memory".to_owned(), self.addresses(compiling).to_string()])
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
        let watched = watch(&mut process, wasm, limits.time, self.memory.as_ref());
        if watched.is_err() {
            // It may have ended meanwhile.
            let _ = process.kill();
            let _ = process.wait();
        }
        if !matches!(&watched, Ok((_, _, Ended::Itself(status))) if status.success()) {
            cache.clear_after(process.id());
        }
        let (given, said, ended) = watched.map_err(Failed::NotRun)?;
        let status = match ended {
            Ended::Itself(status) => status,
            Ended::Late => {
                let after = limits.time.as_secs_f32();
                let late = Unfit::Late(format!("it was not compiled after {after} s"));
                return Err(Failed::Said(late));
            }
            Ended::NoMemory => {
                let message = "hardly any of the container's memory was left while it was compiled: it is tried again \
                               later, and with more memory for the operator it may do";
                return Err(Failed::Said(Unfit::NoMemory(message.to_owned())));
            }
        };
        if status.success() {
            return given.map_err(Failed::NotRun);
        }
        let said = String::from_utf8_lossy(&said);
        let last = said
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let last = last.trim_start_matches("error: ");
        if status.code() == Some(COMPILER_FAILED.into()) {
            return Err(Failed::Said(Unfit::NotCompiled(last.to_owned())));
        }
        let how = match status.signal() {
            Some(libc::SIGXCPU) => format!(
                "compiling it takes more than {} s of a processor",
                limits.processor.as_secs()
            ),
            Some(libc::SIGXFSZ) => format!("compiled, it has more than {} MiB", limits.output >> 20),
            Some(libc::SIGKILL) => {
                let how = "the compiler was ended by signal 9, maybe for want of memory";
                return Err(Failed::Said(Unfit::NoMemory(how.to_owned())));
            }
            Some(signal) => format!("the compiler was ended by signal {signal}, maybe for want of memory"),
            None if last.is_empty() => format!("the compiler failed ({status}) and said nothing"),
            None => last.to_owned(),
        };
        Err(Failed::Said(Unfit::Compiler(how)))
    }
}

/// Whole seconds, at least one.
fn seconds(time: Duration) -> String {
    time.as_secs().max(1).to_string()
}

/// How a compiler has come to its end.
enum Ended {
    /// By itself, or the system has ended it.
    Itself(ExitStatus),
    /// It took too long.
    Late,
    /// There was hardly any memory left.
    NoMemory,
}

/// Whether a compiler took all of its component, what it said, and how it ended.
type Watched = (io::Result<()>, Vec<u8>, Ended);

/// Gives a compiler its component, listens to it, and waits for it.
fn watch(
    process: &mut Child,
    wasm: &[u8],
    limit: Duration,
    memory: Option<&ContainerMemory>,
) -> io::Result<Watched> {
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
        let ended = wait(process, limit, memory);
        if ended.is_err() {
            // Else the threads would wait for it.
            let _ = process.kill();
        }
        let ended = ended?;
        let given = given.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        Ok((given, said.join().unwrap_or_default(), ended))
    })
}

/// Waits until a process has ended, or ends it.
fn wait(process: &mut Child, limit: Duration, memory: Option<&ContainerMemory>) -> io::Result<Ended> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(Ended::Itself(status));
        }
        let must_end = if Instant::now() >= end {
            Some(Ended::Late)
        } else {
            let is_used_up = memory.is_some_and(|memory| memory.is_used_up_by(process.id()));
            is_used_up.then_some(Ended::NoMemory)
        };
        if let Some(ended) = must_end {
            process.kill()?;
            process.wait()?;
            return Ok(ended);
        }
        thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn compiler(script: &str, memory: ContainerMemory) -> Compiler {
        Compiler {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            memory: Some(memory),
        }
    }

    #[rstest]
    #[case::usual(2 << 30, 512 << 20, 1536 << 20)]
    #[case::large(64 << 30, 768 << 20, 4 << 30)]
    #[case::small(256 << 20, LEAST, LEAST)]
    fn it_has_a_part_of_the_containers_memory(
        #[case] limit: u64,
        #[case] of_tenant: u64,
        #[case] of_cluster: u64,
    ) -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let compiler = compiler("", ContainerMemory::in_folder(folder.path(), limit, 0)?);
        let of = |compiling: &Compiling| compiler.addresses(compiling);
        assert_eq!(of(&Compiling::of_tenant("a")), of_tenant);
        assert_eq!(of(&Compiling::default()), of_cluster);
        Ok(())
    }

    /// The kernel would end who started it, too.
    #[test]
    fn it_is_ended_before_the_container_has_no_memory() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let cache = Artefacts::open(&folder.path().join("cache"), &wasmtime::Engine::default())
            .map_err(io::Error::other)?;
        for (used, expected) in [(999, true), (100, false)] {
            let memory = ContainerMemory::in_folder(folder.path(), 1000, used)?;
            let script = "cat >/dev/null; sleep 0.2";
            let ran = compiler(script, memory).run(b"wasm", &Compiling::of_tenant("a"), &cache);
            assert_eq!(
                matches!(ran, Err(Failed::Said(Unfit::NoMemory(_)))),
                expected,
                "{used}"
            );
        }
        Ok(())
    }
}
