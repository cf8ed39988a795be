//! Access to the operator's log, the only host function that a component can call.
//!
//! ```
//! dask_operator_plugin::log::info("three workers are missing");
//! ```
//!
//! In a native build, messages are written to standard error, or to [`capture_log`](crate::testing::capture_log) in a test.

#[cfg(not(target_arch = "wasm32"))]
use std::cell::RefCell;

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
thread_local! {
    static CAPTURED: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
}

/// Captures the messages of this thread from now on, for [`capture_log`](crate::testing::capture_log).
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn begin_capture() {
    CAPTURED.set(Some(Vec::new()));
}

/// Ends the capture, and returns the messages.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn end_capture() -> Vec<(Level, String)> {
    CAPTURED.take().unwrap_or_default()
}

/// Writes a message to standard error, unless it is captured.
#[cfg(not(target_arch = "wasm32"))]
fn write(level: Level, message: &str) {
    let captured = CAPTURED.with_borrow_mut(|captured| {
        if let Some(lines) = captured {
            lines.push((level, message.to_owned()));
        }
        captured.is_some()
    });
    if !captured {
        eprintln!("{level:?} {message}");
    }
}
