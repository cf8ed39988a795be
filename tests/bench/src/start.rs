//! Benchmark of the start: the time from the start of the process until it is ready, with an empty artefact cache and with one
//! that contains the compiled components.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::operator::{self, Operator};
use crate::results::{Aim, Output, Table, Unit};

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Start {
    /// Number of starts with each kind of cache.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    #[command(flatten)]
    output: Output,
}

impl Start {
    /// Runs the benchmark and prints the table.
    pub(crate) async fn run(self) -> Result<()> {
        let mut table = Table::new(
            "start",
            "Start of the process until it is ready, without Dask resources",
        );
        for round in 1..=self.rounds {
            eprintln!("start, round {round} of {}", self.rounds);
            let cache = operator::empty_cache(&self.operator)?;
            for (label, aim) in [("empty artefact cache", 3.0), ("warm artefact cache", 0.1)] {
                let seconds = self.seconds_until_ready(cache.path()).await?;
                table.add_with_aim(label, Unit::Seconds, seconds, Aim::AtMost(aim));
            }
        }
        self.output.table(&table)
    }

    async fn seconds_until_ready(&self, cache: &Path) -> Result<f64> {
        let mut operator = Operator::spawn(&self.operator, cache, &[], None).await?;
        operator.wait_until_ready().await?;
        let seconds = operator.ready_after().as_secs_f64();
        operator.stop().await?;
        Ok(seconds)
    }
}
