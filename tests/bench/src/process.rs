//! Child processes, and the processor time and memory of a process.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// Clock ticks per second in the kernel's statistics, which are the same on all Linux machines.
const TICKS: f64 = 100.0;

/// Maximum duration of a wait for a child process. A development build compiles components for a minute beside other work.
const WAIT: Duration = Duration::from_secs(300);

/// A child process with a log. It is killed when this is dropped.
pub(crate) struct Program {
    name: &'static str,
    process: Child,
    log: tempfile::NamedTempFile,
}

impl Program {
    /// Starts a program. `name` names it in errors.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let log = tempfile::NamedTempFile::new()?;
        let process = command
            .stdout(log.reopen()?)
            .stderr(log.reopen()?)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", command.as_std().get_program().display()))?;
        Ok(Self { name, process, log })
    }

    /// Waits until `done` returns true. `what` names the awaited state in the error.
    pub(crate) async fn until(&mut self, what: &str, done: impl AsyncFn() -> bool) -> Result<()> {
        let start = Instant::now();
        while !done().await {
            self.ensure_running()?;
            if start.elapsed() > WAIT {
                let (name, log) = (self.name, self.last_lines());
                bail!("{name} was not {what} after {} s:\n{log}", WAIT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Returns an error with the end of the log if the process has ended.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            Some(status) => bail!("{} ended with {status}:\n{}", self.name, self.last_lines()),
            None => Ok(()),
        }
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> Result<u32> {
        let id = self.process.id();
        id.with_context(|| format!("{} has ended", self.name))
    }

    /// Kills the process and waits until it has ended.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.process.kill().await?;
        Ok(())
    }

    /// Sends a signal to the process and waits until it has ended.
    pub(crate) async fn end(mut self, signal: Signal) -> Result<()> {
        let id = Pid::from_raw(self.id()?.try_into()?).context("a process with the ID 0")?;
        kill_process(id, signal).with_context(|| format!("sending a signal to {}", self.name))?;
        self.process.wait().await?;
        Ok(())
    }

    /// Returns the end of the log.
    pub(crate) fn last_lines(&self) -> String {
        let text = fs::read_to_string(self.log.path()).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Returns the processor time of all threads of a process.
pub(crate) fn processor_time(id: u32) -> Result<Duration> {
    let file = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&file).with_context(|| file.clone())?;
    // The name of the program, in parentheses, may contain spaces.
    let (_, fields) = text
        .rsplit_once(')')
        .with_context(|| format!("unexpected content of {file}"))?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> {
        let field = fields
            .get(at)
            .with_context(|| format!("unexpected content of {file}"))?;
        Ok(field.parse()?)
    };
    Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS))
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Current resident memory.
    pub(crate) resident: u64,
    /// Peak of the resident memory.
    pub(crate) peak: u64,
}

impl Memory {
    /// Returns the current and the peak memory of a process.
    pub(crate) fn of(id: u32) -> Result<Self> {
        let file = format!("/proc/{id}/status");
        let status = fs::read_to_string(&file).with_context(|| file.clone())?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line
                .and_then(|rest| rest.split_whitespace().next())
                .with_context(|| format!("unexpected content of {file}"))?;
            Ok(kib.parse::<u64>()? * 1024)
        };
        Ok(Self {
            resident: field("VmRSS:")?,
            peak: field("VmHWM:")?,
        })
    }
}
