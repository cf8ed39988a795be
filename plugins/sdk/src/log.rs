//! Access to the operator's log, the only host function that a component can call.
//!
//! ```
//! dask_operator_plugin::log::info("three workers are missing");
//! ```
//!
//! In a native build, messages are written to standard error, or to [`capture_log`](crate::testing::capture_log) in a test.

/// Logs details of a calculation.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message.as_ref());
}

/// Logs information for administrators.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message.as_ref());
}

/// Logs a possible problem.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message.as_ref());
}

/// Logs an error.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message.as_ref());
}

pub use crate::bindings::host::dask::operator::log::Level;

#[cfg(target_arch = "wasm32")]
fn write(level: Level, message: &str) {
    crate::bindings::host::dask::operator::log::log(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn write(level: Level, message: &str) {
    crate::testing::write_log(level, message);
}
