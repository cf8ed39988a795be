//! Benchmark of the removal of workers: a cluster of many workers is scaled down, and a simulated scheduler retires the workers.
//! Compared with a bare client that deletes the same pods.
//!
//! The cluster that `KUBECONFIG` names must have fake nodes only, on which pods run at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{ArgAction, Args};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use crate::api::{Api, Kind, Namespace};
use crate::manifests;
use crate::operator::{self, Operator};
use crate::results::{Aim, Output, Table, Unit};
use crate::scheduler::Schedulers;

/// Name of the cluster.
const NAME: &str = "bench";

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Drain {
    /// Numbers of workers before the cluster is scaled down, each of which is measured.
    #[arg(long, action = ArgAction::Set, value_delimiter = ',', default_value = "1000,5000")]
    workers: Vec<usize>,
    /// Number of workers that remain.
    #[arg(long, default_value_t = 10)]
    remaining: usize,
    /// Maximum number of concurrent requests, for the bare client and for the operator.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Number of measurements of the bare client and of the operator.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    /// Maximum duration of each wait in a round, in seconds.
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    #[command(flatten)]
    output: Output,
}

impl Drain {
    /// Runs the benchmark and prints the tables.
    pub(crate) async fn run(self) -> Result<()> {
        let api = Api::connect(Duration::from_secs(self.timeout)).await?;
        let schedulers = Schedulers::start(&api).await?;
        let cache = operator::cache(&self.operator).await?;
        for &workers in &self.workers {
            ensure!(
                workers > self.remaining,
                "--workers must be more than --remaining"
            );
            let mut table = Table::new(
                format!("drain-{workers}"),
                format!(
                    "Cluster scaled from {workers} to {} workers, {} requests in flight",
                    self.remaining, self.concurrency
                ),
            );
            let pod = operator::render_worker(&self.operator, &manifests::cluster(NAME, workers))?;
            for round in 1..=self.rounds {
                eprintln!("{workers} workers, round {round} of {}", self.rounds);
                let bare = self.bare_client(&api, &pod, workers).await?;
                table.add("bare client, until the pods are gone", Unit::Seconds, bare);
                let operator = self
                    .operator_round(&api, &schedulers, workers, cache.path(), &mut table)
                    .await?;
                table.add("operator ÷ bare client", Unit::Ratio, operator / bare);
            }
            self.output.table(&table)?;
        }
        Ok(())
    }

    /// Returns the time in which a bare client deletes the pods, in seconds.
    async fn bare_client(&self, api: &Api, pod: &Value, workers: usize) -> Result<f64> {
        let namespace = Namespace::create(api, "bench-drain").await?;
        namespace.create_pods(pod, workers, self.concurrency).await?;
        wait_until_running(&namespace, workers).await?;
        let names = worker_pods(&namespace).await?.into_iter().map(|(_, name)| name);
        let start = Instant::now();
        stream::iter(names.skip(self.remaining))
            .map(async |name| namespace.delete_object(Kind::Pod, &name).await)
            .buffer_unordered(self.concurrency)
            .try_collect::<()>()
            .await?;
        namespace.wait_for_pods(self.remaining).await?;
        let duration = start.elapsed().as_secs_f64();
        namespace.delete().await?;
        Ok(duration)
    }

    /// Measures the operator. Returns the time until the pods are gone, in seconds.
    async fn operator_round(
        &self,
        api: &Api,
        schedulers: &Schedulers,
        workers: usize,
        cache: &Path,
        table: &mut Table,
    ) -> Result<f64> {
        let namespace = Namespace::create(api, "bench-drain").await?;
        let operator = Operator::start(&self.operator, cache, self.concurrency).await?;
        namespace.create_object(manifests::cluster(NAME, workers)).await?;
        wait_until_running(&namespace, 1 + workers).await?;
        let scheduler = namespace.service_address(&format!("{NAME}-scheduler")).await?;
        schedulers.register(scheduler, worker_pods(&namespace).await?);
        operator.wait_until_quiet().await?;

        let (before, asked) = (operator.requests().await?, schedulers.requests());
        let start = Instant::now();
        let patch = json!({"spec": {"worker": {"replicas": self.remaining}}});
        namespace.patch(Kind::Cluster, NAME, &patch).await?;
        namespace.wait_for_pods(1 + self.remaining).await?;
        let duration = start.elapsed().as_secs_f64();
        operator.wait_until_quiet().await?;
        let writes = operator.requests().await?.since(&before).writes() as f64;
        let memory = operator.memory()?;
        operator.stop().await?;
        let left = schedulers.registered(scheduler);
        ensure!(
            left == self.remaining,
            "the scheduler knows {left} workers instead of {}: the operator has deleted workers that were not retired",
            self.remaining
        );
        namespace.delete().await?;

        let removed = (workers - self.remaining) as f64;
        table.add("operator, until the pods are gone", Unit::Seconds, duration);
        let mut sent = 0;
        for (operation, count) in schedulers.requests() {
            let count = count - asked.get(&operation).unwrap_or(&0);
            table.add(
                &format!("requests to the scheduler: {operation}"),
                Unit::Count,
                count as f64,
            );
            sent += count;
        }
        let aim = Aim::AtMost(removed);
        table.add_with_aim("requests to the scheduler", Unit::Count, sent as f64, aim);
        table.add("writing requests to the API server", Unit::Count, writes);
        table.add(
            "writing requests for one removed worker",
            Unit::Count,
            writes / removed,
        );
        table.add("memory, peak", Unit::Bytes, memory.peak as f64);
        Ok(duration)
    }
}

/// Waits until there are `count` pods, and all of them run.
async fn wait_until_running(namespace: &Namespace, count: usize) -> Result<()> {
    namespace.wait_for_pods(count).await?;
    namespace
        .until("the phase Running of all pods", async || {
            namespace.are_all_pods("", "Running").await
        })
        .await
}

/// Returns address and name of each worker pod.
async fn worker_pods(namespace: &Namespace) -> Result<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = namespace.list(Kind::Pod).await?.into_iter();
    Ok(pods
        .filter(|pod| pod["metadata"]["labels"]["dask.org/component"] == "worker")
        .map(|pod| (text(&pod["status"]["podIP"]), text(&pod["metadata"]["name"])))
        .collect())
}
