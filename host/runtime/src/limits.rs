//! Resource limits of a component's calls, and the meter that enforces the limit on memory.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// Resource limits of one call. All resources are released when the call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Total linear memory of the component's parts, in bytes. The size of the objects
    /// of an observation is added, so that this limit does not restrict their number:
    /// the objects of 1,000 pods are about 4 MB.
    pub memory: usize,
    /// Time of the call, including the host's work on behalf of the component. The
    /// deadline is accurate to within 20 ms.
    pub deadline: Duration,
    /// Size of the answer, in bytes. A plan that creates 1,000 pods of 5 kB takes 5 MB.
    pub output: usize,
    /// Number of log lines. The host logs the number of further lines.
    pub log_lines: u32,
    /// Length of a log line, in bytes. Longer lines are truncated.
    pub log_line: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            deadline: Duration::from_secs(5),
            output: 64 << 20,
            log_lines: 100,
            log_line: 4096,
        }
    }
}

/// Maximum number of entries of all tables together. A component of 20 MB that contains a
/// Python interpreter has some 10,000.
pub(crate) const TABLE_ENTRIES: usize = 100_000;

/// Maximum number of core instances of a component. A component written in Rust has few, one with an interpreter has dozens.
/// Each slot of the pool has room for this number.
pub(crate) const CORE_INSTANCES: u32 = 50;

/// Maximum number of memories of a component. Each slot of the pool has room for this number.
pub(crate) const MEMORIES: u32 = 2;

/// Maximum number of tables of a component. Each slot of the pool has room for this number.
pub(crate) const TABLES: u32 = 20;

/// Error that ends a call whose instance requests more memory than its limit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {limit} bytes of memory")]
pub(crate) struct MemoryExhausted {
    limit: usize,
}

/// Meter that counts the memory of a call's instances and ends the call when it exceeds the
/// limit.
///
/// The meter ends the call with an error instead of refusing the growth: a guest could
/// then hardly do anything but trap, and the reason would be lost.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    limit: usize,
    used: usize,
    table_entries: usize,
}

impl MemoryMeter {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            table_entries: 0,
        }
    }

    /// Returns the linear memory in use, in bytes. The number never decreases while an instance exists.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.limit {
            return Err(MemoryExhausted { limit: self.limit }.into());
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let entries = self.table_entries.saturating_add(desired.saturating_sub(current));
        if entries > TABLE_ENTRIES {
            return Err(MemoryExhausted { limit: self.limit }.into());
        }
        self.table_entries = entries;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_all_memories_together() {
        let mut meter = MemoryMeter::new(100);
        assert!(meter.memory_growing(0, 60, None).is_ok());
        assert!(meter.memory_growing(0, 30, None).is_ok());
        assert!(meter.memory_growing(60, 80, None).is_err());
        assert!(meter.memory_growing(60, 70, None).is_ok());
        assert_eq!(meter.used(), 100);
    }
}
