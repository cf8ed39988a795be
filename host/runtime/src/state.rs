//! Host state of a store.

use crate::limits::MemoryMeter;
use crate::log::GuestLog;

/// Host state of a store.
pub(crate) struct State {
    pub(crate) log: GuestLog,
    pub(crate) memory: MemoryMeter,
}
