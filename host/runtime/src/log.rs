//! What components log.

use std::sync::Arc;

use dask_operator_core::text;

use crate::Limits;
use crate::contract::log::{Host, Level};

/// The host's end of a component's log during one call.
///
/// Lines are events of `tracing` with the target `plugin`, the component's name
/// in the field `plugin`, and whatever spans the caller has entered.
#[derive(Debug)]
pub(crate) struct GuestLog {
    name: Arc<str>,
    lines: u32,
    left_out: u64,
    line_limit: usize,
    last_error: Option<String>,
}

impl GuestLog {
    pub(crate) fn new(name: Arc<str>, limits: &Limits) -> Self {
        Self {
            name,
            lines: limits.log_lines,
            left_out: 0,
            line_limit: limits.log_line,
            last_error: None,
        }
    }

    /// Ends the log: says what was left out, and gives the last error that the
    /// component logged. Components of the SDK log a panic before they trap.
    pub(crate) fn finish(self) -> Option<String> {
        if self.left_out > 0 {
            tracing::warn!(
                target: "plugin",
                plugin = &*self.name,
                "{} more lines in this call were left out",
                self.left_out
            );
        }
        self.last_error
    }
}

impl Host for GuestLog {
    fn log(&mut self, level: Level, message: String) {
        let Some(lines) = self.lines.checked_sub(1) else {
            self.left_out += 1;
            return;
        };
        self.lines = lines;
        let line = text::line(&message, self.line_limit);
        let plugin = &*self.name;
        match level {
            Level::Trace => tracing::trace!(target: "plugin", plugin, "{line}"),
            Level::Debug => tracing::debug!(target: "plugin", plugin, "{line}"),
            Level::Info => tracing::info!(target: "plugin", plugin, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, "{line}"),
            Level::Error => {
                tracing::error!(target: "plugin", plugin, "{line}");
                self.last_error = Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_lines_are_kept() {
        let limits = Limits {
            log_lines: 2,
            ..Limits::default()
        };
        let mut log = GuestLog::new("noisy".into(), &limits);
        for n in 0..5 {
            log.log(Level::Error, format!("line {n}"));
        }
        assert_eq!(log.left_out, 3);
        assert_eq!(log.finish().as_deref(), Some("line 1"));
    }
}
