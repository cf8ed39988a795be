//! What a process has used.

use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks of the kernel's accounts a second: the same on all machines that Linux runs on.
const TICKS: f64 = 100.0;

/// The processor time that a process has had, of all its threads.
pub(crate) fn processor_time(id: u32) -> Result<Duration> {
    let file = format!("/proc/{id}/stat");
    let text = std::fs::read_to_string(&file).with_context(|| file.clone())?;
    // The name of the program, in brackets, may hold blanks.
    let (_, fields) = text.rsplit_once(')').with_context(|| format!("odd {file}"))?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> {
        let field = fields.get(at).with_context(|| format!("odd {file}"))?;
        Ok(field.parse()?)
    };
    Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS))
}
