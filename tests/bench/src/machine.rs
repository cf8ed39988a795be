//! Description of the machine on which a benchmark runs.

use std::fs;

use serde_json::{Value, json};

/// Returns the model and the number of processors, the memory in bytes, and the release of the kernel.
pub(crate) fn describe() -> Value {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| {
        let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    });
    json!({
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": memory,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

/// Returns the value of the first line `name: value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}
