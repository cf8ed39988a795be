//! What a component may use in one call.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// What a component may use in one call. Everything is given back at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of all its parts together, in bytes. The objects of an
    /// observation come on top, so that their number is not limited by it: those
    /// of 1,000 pods are about 4 MB.
    pub memory: usize,
    /// From the start of the call to its end, with everything that the host does
    /// on its behalf. It is kept to within 20 ms.
    pub deadline: Duration,
    /// What it may answer, in bytes. A plan that creates 1,000 pods of 5 kB takes
    /// 5 MB.
    pub output: usize,
    /// Lines that it may log. The host says how many more there were.
    pub log_lines: u32,
    /// Bytes that it may log in a line; what is longer is cut.
    pub log_line: usize,
}

impl Default for Limits {
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

/// Entries in all tables together; a component of 20 MB that carries a Python
/// interpreter has some 10,000.
pub(crate) const TABLE_ENTRIES: usize = 100_000;

/// What a component may consist of: core instances, memories and tables. Few if it was written in Rust, dozens of
/// instances if it carries an interpreter. The pool has room for as many in each of its places.
pub(crate) const CORE_INSTANCES: u32 = 50;
pub(crate) const MEMORIES: u32 = 2;
pub(crate) const TABLES: u32 = 20;

/// The error that ends an instance which wants more memory than it may have.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {limit} bytes of memory")]
pub(crate) struct MemoryExhausted {
    limit: usize,
}

/// Counts an instance's memory and ends it when it wants too much.
///
/// It is ended at once, and not told that there is no more memory: a guest can do
/// little but trap then, and here the reason is known.
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

    /// Bytes of linear memory in use. It never shrinks while an instance lives.
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
    fn memories_are_counted_together() {
        let mut meter = MemoryMeter::new(100);
        assert!(meter.memory_growing(0, 60, None).is_ok());
        assert!(meter.memory_growing(0, 30, None).is_ok());
        assert!(meter.memory_growing(60, 80, None).is_err());
        assert!(meter.memory_growing(60, 70, None).is_ok());
        assert_eq!(meter.used(), 100);
    }
}
