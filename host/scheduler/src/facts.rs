//! What a scheduler says about itself, the same for all releases and ways to ask.

use std::time::Duration;

use dask_operator_core::text;
use serde::Deserialize;

use crate::bounded::Entries;
use crate::error::WORDS;
use crate::message::{Number, Text};

/// What to ask for, beside the workers.
#[derive(Debug, Clone, PartialEq)]
pub struct FactsRequest {
    /// Ask how many workers the scheduler could use.
    pub desired_workers: bool,
    /// How long the present work should take, for the number of desired
    /// workers; none leaves it to the scheduler's configuration (5 s by default).
    pub target_duration: Option<Duration>,
    /// Ask since when the scheduler has been idle.
    pub idle_since: bool,
}

impl Default for FactsRequest {
    /// Everything, with the scheduler's own target duration.
    fn default() -> Self {
        Self {
            desired_workers: true,
            target_duration: None,
            idle_since: true,
        }
    }
}

/// What a scheduler said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// All registered workers, in the order of their addresses.
    pub workers: Vec<Worker>,
    /// How many workers the scheduler could use now; none if it was not asked.
    pub desired_workers: Option<u32>,
    /// Since when the scheduler has had nothing to do, in milliseconds since
    /// 1970 by the scheduler's clock; none while it is busy, if it was not
    /// asked, or if its release (before 2023.4) can't say.
    pub idle_since_ms: Option<i64>,
}

/// A worker as its scheduler knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Where it is reached, `tcp://10.0.0.7:40331`. Unlike the name it can't be
    /// given twice.
    pub address: String,
    /// The name that it registered with, its address if it has none. A number
    /// is written in decimals.
    pub name: String,
    /// Dask's own word: `init`, `running`, `paused`, `closing_gracefully` (being
    /// or having been retired), `closing`, …
    pub status: String,
    /// Tasks that it runs or has queued, by its last heartbeat (each 0.5 s in a
    /// small cluster, each 6 s with 1,000 workers).
    pub processing: u32,
    /// Bytes of results that it holds, in memory or on disk, by its last
    /// heartbeat; 0 before release 2022.10, which does not say.
    pub managed_bytes: u64,
    /// Its threads.
    pub nthreads: u32,
    /// When the scheduler last heard of it, in milliseconds since 1970.
    pub last_seen_ms: i64,
}

/// Who a scheduler is.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Its id, another one for each process.
    pub id: String,
    /// When it started, in milliseconds since 1970.
    pub started_ms: Option<i64>,
    /// All registered workers, in the order of their addresses.
    pub workers: Vec<Worker>,
}

/// A worker that was retired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// Its address.
    pub address: String,
    /// Its name, its address if it has none.
    pub name: String,
}

/// The answer to `identity`, and what is in `/json/identity.json`.
#[derive(Deserialize)]
pub(crate) struct IdentityReply {
    #[serde(default)]
    id: Text,
    #[serde(default)]
    started: Number,
    /// Missing if a worker answers.
    workers: Option<Entries<WorkerReply>>,
    #[serde(default, rename = "type")]
    kind: Text,
}

impl IdentityReply {
    /// The identity of a scheduler; else the kind of server that this is.
    pub(crate) fn into_identity(self) -> Result<Identity, String> {
        let Some(Entries(workers)) = self.workers else {
            let kind = self.kind.0.as_deref().unwrap_or("something unknown");
            return Err(text::line(kind, WORDS));
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

/// What a worker tells about itself with each heartbeat.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    /// Before 2022.10.
    executing: Number,
    /// Before 2022.10.
    ready: Number,
    /// Since 2022.10.
    managed_bytes: Number,
    /// Since 2022.10: how many tasks are in which state.
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

/// The answer to `retire_workers`: what is known about each retired worker.
pub(crate) type RetireReply = Entries<RetiredReply>;

#[derive(Deserialize)]
pub(crate) struct RetiredReply {
    #[serde(default)]
    name: Text,
}

pub(crate) fn retired(reply: RetireReply) -> Vec<Retired> {
    let retired = |(address, RetiredReply { name })| Retired {
        name: name.0.unwrap_or_else(|| String::clone(&address)),
        address,
    };
    reply.0.into_iter().map(retired).collect()
}

/// A count as a smaller integer; what does not fit is the largest.
pub(crate) fn saturate(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
