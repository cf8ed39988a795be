//! The figures of a run, side by side.

use std::time::Duration;

use crate::operator::{Memory, Requests};

/// One turn of the bare client and one of the operator.
pub(crate) struct Round {
    /// In which the bare client created the pods.
    pub(crate) bare: Duration,
    /// From the creation of the cluster until all its pods existed.
    pub(crate) operator: Duration,
    /// From the start of the operator's process until it was ready.
    pub(crate) ready: Duration,
    /// The operator's requests from the creation of the cluster until it was quiet.
    pub(crate) requests: Requests,
    /// Bytes resident before there was a cluster.
    pub(crate) idle_memory: u64,
    /// Bytes resident afterwards, and at the most.
    pub(crate) memory: Memory,
    /// Plan calls, and the seconds that they took together.
    pub(crate) plans: (f64, f64),
    /// Requests that wrote something after a restart in which nothing had changed.
    pub(crate) resync_writes: u64,
}

/// All rounds.
pub(crate) struct Report {
    workers: usize,
    concurrency: usize,
    rounds: Vec<Round>,
}

impl Report {
    /// A report without rounds.
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
    #[expect(clippy::print_stdout, reason = "this is what the program is for")]
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
