//! Benchmarks of the operator, each with a baseline in the same run on the same machine.
//!
//! * [`workers`]: the time to create workers, compared with a bare client that creates the same pods, and with dask-kubernetes.
//! * [`admission`]: the latency of the webhook, compared with a server with the same libraries that decides nothing.
//! * [`calls`]: the time of calls of components, compared with the same code natively.
//! * [`fleet`]: the time to create many small clusters, compared with a bare client that creates the same objects.
//! * [`jobs`]: the time of the whole life of many jobs, compared with a bare client that creates and deletes the same objects.
//! * [`drain`]: the time to remove many workers through their scheduler, compared with a bare client that deletes the same pods.
//! * [`clients`]: the memory that the answer of a scheduler with many workers takes.
//! * [`start`]: the time from the start of the process until it is ready.
//! * [`failover`]: the time until another operator writes after the leader has ended.
//! * [`soak`]: a long run with random changes, in which leaders are killed.
//!
//! The operator and the baseline are measured alternately, so that a machine that becomes slower affects both.

mod admission;
mod api;
mod bare_client;
mod calls;
mod chart;
mod clients;
mod drain;
mod failover;
mod fleet;
mod folders;
mod jobs;
mod machine;
mod manifests;
mod namespaces;
mod operator;
mod predecessor;
mod process;
mod relay;
mod replicas;
mod results;
mod scheduler;
mod soak;
mod start;
mod workers;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures the operator and compares it with a baseline.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the time to create clusters of many workers, compared with a bare client that creates the same pods, and with
    /// dask-kubernetes.
    Workers(workers::Workers),
    /// Measures the latency of the webhook at a fixed rate, compared with a server that sends fixed answers.
    Admission(admission::Admission),
    /// Measures the time of calls of components, compared with the same code natively.
    Calls(calls::Calls),
    /// Measures the time to create many small clusters, compared with a bare client that creates the same objects.
    Fleet(fleet::Fleet),
    /// Measures the whole life of many jobs, compared with a bare client that creates and deletes the same objects.
    Jobs(jobs::Jobs),
    /// Measures the time to scale a cluster of many workers down, compared with a bare client that deletes the same pods.
    Drain(drain::Drain),
    /// Measures the memory that the operator needs for a scheduler with many workers.
    Clients(clients::Clients),
    /// Measures the time from the start of the process until it is ready, with and without an artefact cache.
    Start(start::Start),
    /// Ends the leader of two operators repeatedly, and measures the time until the other one writes.
    Failover(failover::Failover),
    /// Changes many clusters at random for a long time, kills leaders, and checks that nothing is missing or superfluous.
    Soak(soak::Soak),
    /// Runs the server with fixed answers.
    #[command(hide = true)]
    Bare(admission::Bare),
    /// Loads the default components.
    #[command(hide = true)]
    LoadComponents(calls::LoadComponents),
}

fn main() -> Result<()> {
    let multi_threaded = |threads: usize| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        runtime.worker_threads(cores.min(threads)).enable_all().build()
    };
    match Args::parse().command {
        Command::Workers(workers) => multi_threaded(usize::MAX)?.block_on(workers.run()),
        Command::Fleet(fleet) => multi_threaded(usize::MAX)?.block_on(fleet.run()),
        Command::Jobs(jobs) => multi_threaded(usize::MAX)?.block_on(jobs.run()),
        Command::Drain(drain) => multi_threaded(usize::MAX)?.block_on(drain.run()),
        Command::Clients(clients) => multi_threaded(usize::MAX)?.block_on(clients.run()),
        Command::Start(start) => multi_threaded(usize::MAX)?.block_on(start.run()),
        Command::Failover(failover) => multi_threaded(usize::MAX)?.block_on(failover.run()),
        Command::Soak(soak) => multi_threaded(usize::MAX)?.block_on(soak.run()),
        // One thread, so that the load takes no more than one core from the measured server.
        Command::Admission(admission) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(admission.run()),
        Command::Calls(calls) => calls.run(),
        Command::LoadComponents(load) => load.run(),
        Command::Bare(bare) => multi_threaded(admission::THREADS)?.block_on(bare.serve()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/bench/run --short` passes arguments that a user may override, also lists.
    #[test]
    fn later_arguments_override_earlier_ones() {
        let arguments = "bench workers --workers 100 --rounds 1 --workers 20,30 --rounds 2";
        let parsed = Args::try_parse_from(arguments.split(' '));
        let Ok(Args {
            command: Command::Workers(workers),
        }) = parsed
        else {
            panic!("the arguments are not accepted");
        };
        let shown = format!("{workers:?}");
        assert!(
            shown.contains("workers: [20, 30]") && shown.contains("rounds: 2"),
            "{shown}"
        );
    }
}
