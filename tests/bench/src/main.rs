//! Figures of the operator, each beside what bounds it, in the same run on the same machine.
//!
//! * [`workers`]: how fast it creates workers, beside a bare client that creates the same pods;
//! * [`admission`]: how fast its webhook answers, beside a server of the same libraries that decides nothing.
//!
//! Both sides take turns, so that a machine that gets slower slows both.

mod admission;
mod api;
mod operator;
mod report;
mod workers;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures the operator, beside what bounds it.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Creates clusters of many workers and prints how long it took, beside a bare client that creates the
    /// same pods.
    Workers(workers::Workers),
    /// Asks the webhook at a fixed rate and prints how long answers took, beside a server that always answers the same.
    Admission(admission::Admission),
    /// That server.
    #[command(hide = true)]
    Bare(admission::Bare),
}

fn main() -> Result<()> {
    let several = |threads: usize| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        runtime.worker_threads(cores.min(threads)).enable_all().build()
    };
    match Args::parse().command {
        Command::Workers(workers) => several(usize::MAX)?.block_on(workers.run()),
        // One thread, so that it takes no more than one core from who is measured.
        Command::Admission(admission) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(admission.run()),
        Command::Bare(bare) => several(admission::THREADS)?.block_on(bare.serve()),
    }
}
