//! The messages of a Dask scheduler, as far as the operator's client uses them. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The port of the first worker. Each worker of a scheduler has another port, so all addresses differ.
const FIRST_PORT: usize = 10_000;

/// Time in seconds since 1970 at which the schedulers were started and heard from all workers.
const STARTED: f64 = 1_767_225_600.5;

/// Workers by address.
pub(super) type Workers = BTreeMap<String, Worker>;

/// A worker in the answer to `identity`, with all fields of distributed 2026.8.0, because the client reads all of them.
#[derive(Serialize)]
pub(super) struct Worker {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    host: String,
    resources: BTreeMap<String, f64>,
    local_directory: &'static str,
    name: String,
    nthreads: u32,
    memory_limit: u64,
    last_seen: f64,
    services: BTreeMap<&'static str, u16>,
    metrics: &'static Value,
    status: &'static str,
    nanny: String,
}

/// Metrics of an idle worker.
static METRICS: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "task_counts": {},
        "bandwidth": {"total": 100_000_000, "workers": {}, "types": {}},
        "digests_total_since_heartbeat": {"tick-duration": 0.5012, "latency": 0.0021},
        "managed_bytes": 0,
        "spilled_bytes": {"memory": 0, "disk": 0},
        "transfer": {
            "incoming_bytes": 0, "incoming_count": 0, "incoming_count_total": 0,
            "outgoing_bytes": 0, "outgoing_count": 0, "outgoing_count_total": 0,
        },
        "event_loop_interval": 0.02,
        "cpu": 2.1,
        "memory": 150_000_000,
        "time": STARTED,
        "host_net_io": {"read_bps": 1_000_000.5, "write_bps": 1_000_000.5},
        "host_disk_io": {"read_bps": 1_000.5, "write_bps": 1_000.5},
        "num_fds": 35,
    })
});

/// Adds workers, each with its host and its name.
pub(super) fn register(workers: &mut Workers, new: impl IntoIterator<Item = (String, String)>) {
    for (host, name) in new {
        let port = FIRST_PORT + workers.len();
        let worker = Worker {
            kind: "Worker",
            id: name.clone(),
            resources: BTreeMap::new(),
            local_directory: "/tmp/dask-scratch-space/worker-6t5ibz_8",
            name,
            nthreads: 2,
            memory_limit: 4_000_000_000,
            last_seen: STARTED,
            services: BTreeMap::from([("dashboard", 8788)]),
            metrics: &METRICS,
            status: "running",
            nanny: format!("tcp://{host}:{}", port + 1),
            host,
        };
        workers.insert(format!("tcp://{}:{port}", worker.host), worker);
    }
}

/// Returns the message that a scheduler sends first.
pub(super) fn handshake() -> Result<Vec<u8>> {
    encode(&json!({"compression": null, "python": [3, 13, 0], "pickle-protocol": 5}))
}

/// A request to a scheduler.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    /// Name of the operation.
    pub(super) op: String,
    /// Addresses of the workers to retire.
    #[serde(default)]
    workers: Vec<String>,
}

impl Request {
    /// Decodes the first frame of a message.
    pub(super) fn decode(frame: &[u8]) -> Result<Self> {
        rmp_serde::from_slice(frame).context("a message that is no request to a scheduler")
    }

    /// Returns the answer of a scheduler with these workers, and removes the workers that the request retires.
    pub(super) fn answer(&self, workers: &mut Workers) -> Result<Vec<u8>> {
        match self.op.as_str() {
            "identity" => encode(&Identity {
                kind: "Scheduler",
                id: "Scheduler-e6ffe5f1-c18c-46ac-8ce1-0393c7554bae",
                started: STARTED,
                workers,
            }),
            "adaptive_target" => encode(&workers.len()),
            "retire_workers" => {
                let retire = |address| workers.remove_entry(address);
                encode(&self.workers.iter().filter_map(retire).collect::<Workers>())
            }
            // `None`: the answer to unknown operations, and to `check_idle` while the scheduler is busy.
            _ => encode(&()),
        }
    }
}

/// The answer to `identity`.
#[derive(Serialize)]
struct Identity<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'static str,
    started: f64,
    workers: &'a Workers,
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    rmp_serde::to_vec_named(message).context("encoding a message of a scheduler")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_takes_as_much_as_in_the_answer_of_a_real_scheduler() -> Result<()> {
        let identity = Request::decode(&encode(&json!({"op": "identity", "reply": true}))?)?;
        let mut workers = Workers::new();
        let without = identity.answer(&mut workers)?.len();
        let new = (0..100).map(|i| ("10.0.0.7".to_owned(), format!("bench-default-worker-{i:010x}")));
        register(&mut workers, new);
        assert_eq!(workers.len(), 100, "all addresses differ");
        let for_one = (identity.answer(&mut workers)?.len() - without) / 100;
        assert!((750..1000).contains(&for_one), "{for_one} bytes");
        Ok(())
    }

    #[test]
    fn requests_that_a_scheduler_does_not_know_are_answered_with_nil() -> Result<()> {
        let request = Request::decode(&encode(&json!({"op": "unknown", "reply": true, "n": 1}))?)?;
        assert_eq!(request.answer(&mut Workers::new())?, [0xc0]);
        assert!(Request::decode(b"ahoy").is_err());
        Ok(())
    }
}
