//! The operator's log, which is all that a component can reach.
//!
//! ```
//! dask_operator_plugin::log::info("three workers are missing");
//! ```
//!
//! In a native build lines go to standard error, or to [`capture`](crate::testing::capture_log) in a test.

/// Details of a calculation.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message.as_ref());
}

/// Something that a person wants to know.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message.as_ref());
}

/// Something that a person should look at.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message.as_ref());
}

/// Something that went wrong.
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
