//! Facts about a scheduler, in the same form for all releases and transports.

use std::time::Duration;

use dask_operator_core::text;
use serde::Deserialize;

use crate::bounded::Entries;
use crate::error::MAX_REMOTE_TEXT;
use crate::message::{Number, Text};

/// Selection of the facts to query in addition to the workers.
#[derive(Debug, Clone, PartialEq)]
pub struct FactsRequest {
    /// Query the number of workers that the scheduler could use.
    pub desired_workers: bool,
    /// Time in which the present work should be done, for the number of desired
    /// workers. `None` uses the scheduler's configuration (5 s by default).
    pub target_duration: Option<Duration>,
    /// Query the time since which the scheduler has been idle.
    pub idle_since: bool,
}

impl Default for FactsRequest {
    /// Selects everything, with the scheduler's own target duration.
    fn default() -> Self {
        Self {
            desired_workers: true,
            target_duration: None,
            idle_since: true,
        }
    }
}

/// Facts that a scheduler reported.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// All registered workers, sorted by address.
    pub workers: Vec<Worker>,
    /// Number of workers that the scheduler could use now. `None` if it was not
    /// queried, or if the scheduler returned something that is not a count.
    pub desired_workers: Option<u32>,
    /// Time since which the scheduler has been idle, in milliseconds since 1970 by
    /// the scheduler's clock. `None` while it is busy, if it was not queried, or if
    /// the release (before 2023.4) does not report it.
    pub idle_since_ms: Option<i64>,
}

/// A worker as its scheduler reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Address of the worker's comm port, such as `tcp://10.0.0.7:40331`. Unlike the
    /// name, it is unique.
    pub address: String,
    /// Name that the worker registered with, or its address if it has none. A number
    /// is written in decimal.
    pub name: String,
    /// Dask's own status: `init`, `running`, `paused`, `closing_gracefully` (being
    /// retired or already retired), `closing`, …
    pub status: String,
    /// Number of tasks that are running or queued on the worker, by its last
    /// heartbeat (every 0.5 s in a small cluster, every 6 s with 1,000 workers).
    pub processing: u32,
    /// Bytes of results on the worker, in memory or on disk, by its last heartbeat.
    /// 0 before release 2022.10, which does not report them.
    pub managed_bytes: u64,
    /// Number of threads.
    pub nthreads: u32,
    /// Time at which the scheduler last heard from the worker, in milliseconds since 1970.
    pub last_seen_ms: i64,
}

/// The identity of a scheduler process.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Id of the scheduler, different for each process.
    pub id: String,
    /// Start time, in milliseconds since 1970. `None` if it is not reported.
    pub started_ms: Option<i64>,
    /// All registered workers, sorted by address.
    pub workers: Vec<Worker>,
}

/// A retired worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredWorker {
    /// The worker's address.
    pub address: String,
    /// The worker's name, or its address if it has none.
    pub name: String,
}

/// The reply to `identity`, and the content of `/json/identity.json`.
#[derive(Deserialize)]
pub(crate) struct IdentityReply {
    #[serde(default)]
    id: Text,
    #[serde(default)]
    started: Number,
    /// Missing if a worker replies instead of a scheduler.
    workers: Option<Entries<WorkerReply>>,
    #[serde(default, rename = "type")]
    kind: Text,
}

impl IdentityReply {
    /// Returns the identity of a scheduler.
    ///
    /// # Errors
    ///
    /// Returns the kind of the server if it is not a scheduler.
    pub(crate) fn into_identity(self) -> Result<Identity, String> {
        let Some(Entries(workers)) = self.workers else {
            let kind = self.kind.0.as_deref().unwrap_or("something unknown");
            return Err(text::line(kind, MAX_REMOTE_TEXT));
        };
        Ok(Identity {
            id: self.id.0.unwrap_or_default(),
            started_ms: self.started.milliseconds(),
            workers: workers
                .into_iter()
                .map(|(address, worker)| worker.at(address))
                .collect(),
        })
    }
}

#[derive(Deserialize)]
struct WorkerReply {
    #[serde(default)]
    name: Text,
    #[serde(default)]
    status: Text,
    #[serde(default)]
    nthreads: Number,
    #[serde(default)]
    last_seen: Number,
    #[serde(default)]
    metrics: Metrics,
}

impl WorkerReply {
    fn at(self, address: String) -> Worker {
        Worker {
            name: self.name.0.unwrap_or_else(|| address.clone()),
            status: self.status.0.unwrap_or_default(),
            processing: saturate(self.metrics.processing()),
            managed_bytes: self.metrics.managed_bytes.count().unwrap_or(0),
            nthreads: saturate(self.nthreads.count().unwrap_or(0)),
            last_seen_ms: self.last_seen.milliseconds().unwrap_or(0),
            address,
        }
    }
}

/// Metrics that a worker sends with each heartbeat.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    /// Before 2022.10.
    executing: Number,
    /// Before 2022.10.
    ready: Number,
    /// Since 2022.10.
    managed_bytes: Number,
    /// Since 2022.10: number of tasks in each state.
    task_counts: TaskCounts,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TaskCounts {
    waiting: Number,
    ready: Number,
    constrained: Number,
    executing: Number,
    #[serde(rename = "long-running")]
    long_running: Number,
    resumed: Number,
}

impl Metrics {
    fn processing(&self) -> u64 {
        let tasks = &self.task_counts;
        [
            self.executing,
            self.ready,
            tasks.waiting,
            tasks.ready,
            tasks.constrained,
            tasks.executing,
            tasks.long_running,
            tasks.resumed,
        ]
        .into_iter()
        .fold(0, |sum, number| sum.saturating_add(number.count().unwrap_or(0)))
    }
}

/// The reply to `retire_workers`: an entry for each retired worker.
pub(crate) type RetireReply = Entries<RetiredReply>;

#[derive(Deserialize)]
pub(crate) struct RetiredReply {
    #[serde(default)]
    name: Text,
}

pub(crate) fn retired(reply: RetireReply) -> Vec<RetiredWorker> {
    let retired = |(address, RetiredReply { name })| RetiredWorker {
        name: name.0.unwrap_or_else(|| String::clone(&address)),
        address,
    };
    reply.0.into_iter().map(retired).collect()
}

/// Converts a count to a smaller integer. Counts that do not fit become the largest one.
pub(crate) fn saturate(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
