//! Log lines of components, forwarded to `tracing`.

use std::sync::Arc;

use dask_operator_core::text;

use crate::CallLimits;
use crate::contract::log::{Host, Level};

/// Host implementation of a component's log during one call.
///
/// Lines become events of `tracing` with the target `plugin`, the component's name in
/// the field `plugin`, and the caller's current spans.
#[derive(Debug)]
pub(crate) struct GuestLog {
    name: Arc<str>,
    /// Number of lines that the component may still log.
    remaining: u32,
    /// Number of lines that were dropped.
    dropped: u64,
    line_limit: usize,
    last_error: Option<String>,
}

impl GuestLog {
    pub(crate) fn new(name: Arc<str>, limits: &CallLimits) -> Self {
        Self {
            name,
            remaining: limits.log_lines,
            dropped: 0,
            line_limit: limits.log_line,
            last_error: None,
        }
    }

    /// Ends the log: logs the number of dropped lines, and returns the last error that
    /// the component logged, if any. Components built with the SDK log a panic before
    /// they trap.
    pub(crate) fn finish(self) -> Option<String> {
        if self.dropped > 0 {
            tracing::warn!(
                target: "plugin",
                plugin = &*self.name,
                "{} more lines in this call were left out",
                self.dropped
            );
        }
        self.last_error
    }
}

impl Host for GuestLog {
    fn log(&mut self, level: Level, message: String) {
        let Some(remaining) = self.remaining.checked_sub(1) else {
            self.dropped += 1;
            return;
        };
        self.remaining = remaining;
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
    fn drops_lines_beyond_the_limit() {
        let limits = CallLimits {
            log_lines: 2,
            ..CallLimits::default()
        };
        let mut log = GuestLog::new("noisy".into(), &limits);
        for n in 0..5 {
            log.log(Level::Error, format!("line {n}"));
        }
        assert_eq!(log.dropped, 3);
        assert_eq!(log.finish().as_deref(), Some("line 1"));
    }
}
