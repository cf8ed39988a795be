//! Report of the `workers` benchmark.

use std::time::Duration;

use crate::operator::{Memory, Requests};

/// Results of one round: one measurement of the bare client and one of the operator.
pub(crate) struct Round {
    /// Time in which the bare client created the pods.
    pub(crate) bare: Duration,
    /// Time from the creation of the cluster until all its pods existed.
    pub(crate) operator: Duration,
    /// Time from the start of the operator's process until it was ready.
    pub(crate) ready: Duration,
    /// Requests of the operator from the creation of the cluster until the operator stopped writing.
    pub(crate) requests: Requests,
    /// Resident memory before the cluster was created, in bytes.
    pub(crate) idle_memory: u64,
    /// Resident memory at the end of the round, and its peak.
    pub(crate) memory: Memory,
    /// Number of plan calls, and their total duration in seconds.
    pub(crate) plans: (f64, f64),
    /// Number of writing requests after a restart without changes.
    pub(crate) resync_writes: u64,
}

/// Results of all rounds.
pub(crate) struct Report {
    workers: usize,
    concurrency: usize,
    rounds: Vec<Round>,
}

impl Report {
    /// Creates a report without rounds.
    pub(crate) fn new(workers: usize, concurrency: usize) -> Self {
        Self {
            workers,
            concurrency,
            rounds: Vec::new(),
        }
    }

    /// Adds a round.
    pub(crate) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    /// Prints the medians, and the requests of the last round.
    #[expect(clippy::print_stdout, reason = "the report is the output of the program")]
    pub(crate) fn print(&self) {
        let median = |figure: &dyn Fn(&Round) -> f64| {
            let mut all: Vec<f64> = self.rounds.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let rate = |seconds: f64| self.workers as f64 / seconds;
        let bare = median(&|round| round.bare.as_secs_f64());
        let operator = median(&|round| round.operator.as_secs_f64());
        println!(
            "{} workers, {} requests in flight, medians of {} rounds",
            self.workers,
            self.concurrency,
            self.rounds.len()
        );
        println!(
            "  bare client creates the pods       {bare:8.2} s  {:6.0} pods/s",
            rate(bare)
        );
        println!(
            "  operator, from apply to all pods   {operator:8.2} s  {:6.0} pods/s",
            rate(operator)
        );
        let ratio = |round: &Round| round.operator.as_secs_f64() / round.bare.as_secs_f64();
        let ratios = self.rounds.iter().map(ratio);
        println!(
            "  operator ÷ bare client, by round   {:8.2}    ({:.2} to {:.2}; aim: at most 1.1)",
            median(&ratio),
            ratios.clone().fold(f64::INFINITY, f64::min),
            ratios.fold(0.0, f64::max),
        );
        println!(
            "  process start to ready             {:8.3} s",
            median(&|round| round.ready.as_secs_f64())
        );
        println!(
            "  memory idle                        {:8.1} MiB (aim: at most 30)",
            mib(median(&|r| r.idle_memory as f64))
        );
        println!(
            "  memory afterwards                  {:8.1} MiB",
            mib(median(&|r| r.memory.resident as f64))
        );
        println!(
            "  memory at the most                 {:8.1} MiB",
            mib(median(&|r| r.memory.peak as f64))
        );
        let calls = median(&|round| round.plans.0);
        println!(
            "  plan calls                         {calls:8.0}    {:.2} ms each on average",
            1e3 * median(&|r| r.plans.1 / r.plans.0)
        );
        println!(
            "  writes of a resync without change  {:8.0}    (aim: 0)",
            median(&|round| round.resync_writes as f64)
        );
        if let Some(last) = self.rounds.last() {
            println!("  requests of the last round         {}", last.requests);
        }
    }
}
