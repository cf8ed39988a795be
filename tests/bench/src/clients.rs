//! Benchmark of the memory that the operator needs for a scheduler with many workers: the scheduler of a small cluster reports
//! none at first, and then thousands.
//!
//! The cluster that `KUBECONFIG` names must have fake nodes only, on which pods run at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::api::{Api, Namespace};
use crate::manifests;
use crate::operator::{self, Operator};
use crate::process::Memory;
use crate::results::{Aim, Output, Table, Unit};
use crate::scheduler::Schedulers;

/// Name of the cluster.
const NAME: &str = "bench";

/// Number of pods of workers.
const PODS: usize = 3;

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Clients {
    /// Number of workers that the scheduler reports.
    #[arg(long, default_value_t = 10_000)]
    workers: usize,
    /// Number of answers of the scheduler before memory is measured. The operator queries it every five seconds.
    #[arg(long, default_value_t = 5)]
    answers: usize,
    /// Number of measurements.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    /// Maximum duration of each wait in a round, in seconds.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    #[command(flatten)]
    output: Output,
}

impl Clients {
    /// Runs the benchmark and prints the table.
    pub(crate) async fn run(self) -> Result<()> {
        let api = Api::connect(Duration::from_secs(self.timeout)).await?;
        let schedulers = Schedulers::start(&api).await?;
        let cache = operator::cache(&self.operator).await?;
        let mut table = Table::new(
            format!("clients-{}", self.workers),
            format!("One cluster whose scheduler reports {} workers", self.workers),
        );
        for round in 1..=self.rounds {
            eprintln!("{} workers, round {round} of {}", self.workers, self.rounds);
            self.round(&api, &schedulers, cache.path(), &mut table).await?;
        }
        self.output.table(&table)
    }

    async fn round(&self, api: &Api, schedulers: &Schedulers, cache: &Path, table: &mut Table) -> Result<()> {
        let namespace = Namespace::create(api, "bench-clients").await?;
        let operator = Operator::start(&self.operator, cache, 32).await?;
        let mut cluster = manifests::cluster(NAME, PODS);
        // The operator queries the scheduler of a cluster with this timeout all the time.
        cluster["spec"]["idleTimeout"] = json!(86_400);
        namespace.create_object(cluster).await?;
        namespace.wait_for_pods(1 + PODS).await?;
        let before = self.memory(&namespace, &operator, schedulers).await?;
        let scheduler = namespace.service_address(&format!("{NAME}-scheduler")).await?;
        let workers = (0..self.workers).map(|i| ("10.0.0.7".to_owned(), format!("{NAME}-worker-{i:010x}")));
        schedulers.register(scheduler, workers);
        let after = self.memory(&namespace, &operator, schedulers).await?;
        operator.stop().await?;
        namespace.delete().await?;

        let mut add = |label: &str, bytes: f64| table.add(label, Unit::Bytes, bytes);
        add("memory, without workers", before.resident as f64);
        add("memory, with the workers", after.resident as f64);
        add("memory, peak", after.peak as f64);
        let added = after.resident as f64 - before.resident as f64;
        add(
            "memory, added at the peak",
            after.peak as f64 - before.resident as f64,
        );
        table.add_with_aim("memory, added", Unit::Bytes, added, Aim::AtMost(20e6));
        Ok(())
    }

    /// Returns the memory of the operator after more answers of the scheduler.
    async fn memory(
        &self,
        namespace: &Namespace,
        operator: &Operator,
        schedulers: &Schedulers,
    ) -> Result<Memory> {
        let answers = || schedulers.requests().get("identity").copied().unwrap_or(0);
        let enough = answers() + self.answers;
        namespace
            .until("answers of the scheduler", async || Ok(answers() >= enough))
            .await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        operator.memory()
    }
}
