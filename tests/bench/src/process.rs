//! Processor time and memory of a process.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Clock ticks per second in the kernel's statistics, which are the same on all Linux machines.
const TICKS: f64 = 100.0;

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
