//! Loads plugins. Does all the I/O of [`plugins`](super).
//!
//! * [`manager`]: the control loop. It receives [watch events](watch), passes them to the rules in [`plugins`](super), starts the
//!   attempts that these request, exchanges the catalog, and reports.
//! * [`attempt`]: one attempt to load a plugin: [`fetch`] retrieves the bytes from a registry, a file or a ConfigMap, [`prepare`]
//!   compiles them, and [`smoke_test`] tries the component on samples.
//! * [`cache`]: components on the disk, for restarts. [`crash_records`]: components that ended the operator, on the disk as well.
//!   [`trial_lock`]: trials that run alone.
//! * [`defaults`] and [`args`]: components and sources that the command line names.

pub(crate) mod args;
mod attempt;
mod cache;
mod crash_records;
pub(crate) mod defaults;
mod fetch;
mod manager;
mod prepare;
mod smoke_test;
mod trial_lock;
mod watch;

pub(crate) use manager::{Manager, Parts};
#[cfg(test)]
pub(crate) use smoke_test::try_logic;
