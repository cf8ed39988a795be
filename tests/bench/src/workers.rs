//! Benchmark of the creation of workers, compared with a bare client that creates the same pods, and with dask-kubernetes, on the
//! same API server.
//!
//! The cluster that `KUBECONFIG` names should have no node that the pods fit on, because the benchmark measures the operator
//! and the API server, not containers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{ArgAction, Args};
use serde_json::{Value, json};

use crate::api::{Api, Kind, Namespace};
use crate::chart::{Axis, Chart, Scale};
use crate::manifests;
use crate::operator::{self, Operator};
use crate::predecessor::{self, PREDECESSOR};
use crate::results::{Aim, Output, Table, Unit};

/// Labels of the rows that are compared.
const OPERATOR: &str = "operator, from apply until all pods exist";
const BARE: &str = "bare client creates the pods";

/// Arguments of the benchmark.
#[derive(Args, Debug)]
pub(crate) struct Workers {
    /// Numbers of workers in the cluster, each of which is measured.
    #[arg(long, action = ArgAction::Set, value_delimiter = ',', default_value = "100,1000,5000")]
    workers: Vec<usize>,
    /// Maximum number of concurrent requests, for the bare client and for the operator.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Number of measurements of the bare client and of the operator.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    /// Maximum duration of each wait in a round, in seconds.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    #[command(flatten)]
    predecessor: predecessor::Arguments,
    #[command(flatten)]
    output: Output,
}

impl Workers {
    /// Runs the benchmark, prints the tables and stores the chart.
    pub(crate) async fn run(self) -> Result<()> {
        let args = self;
        let cache = operator::cache(&args.operator).await?;
        let mut lines = [
            ("operator", OPERATOR),
            ("bare client", BARE),
            ("dask-kubernetes", PREDECESSOR),
        ]
        .map(|(name, row)| (name.to_owned(), row, Vec::new()));
        for &workers in &args.workers {
            let table = args.measure(workers, cache.path()).await?;
            args.output.table(&table)?;
            for (_, row, points) in &mut lines {
                points.extend(table.median(row).map(|median| (workers as f64, median)));
            }
        }
        args.output.chart(
            &args.name("workers"),
            &Chart {
                title: "Time until all worker pods of a new cluster exist".to_owned(),
                x: Axis::new("workers", Scale::Logarithmic),
                y: Axis::new("seconds", Scale::Logarithmic),
                lines: lines
                    .into_iter()
                    .map(|(name, _, points)| (name, points))
                    .filter(|(_, points)| !points.is_empty())
                    .collect(),
            },
        )
    }

    /// Returns the name of a result. Results with the default request rates have names of their own.
    fn name(&self, name: &str) -> String {
        let suffix = if self.predecessor.default_rates {
            "-default-rates"
        } else {
            ""
        };
        format!("{name}{suffix}")
    }

    /// Measures all rounds with a number of workers.
    async fn measure(&self, workers: usize, cache: &Path) -> Result<Table> {
        let rates = if self.predecessor.default_rates {
            ", controllers with their default request rates"
        } else {
            ""
        };
        let title = format!(
            "{workers} workers, {} requests in flight{rates}",
            self.concurrency
        );
        let mut table = Table::new(self.name(&format!("workers-{workers}")), title);
        let manifest = cluster(workers);
        let pod = operator::render_worker(&self.operator, &manifest)?;
        for round in 1..=self.rounds {
            eprintln!("{workers} workers, round {round} of {}", self.rounds);
            // A new client, because the operator also starts without open connections.
            let fresh = Api::connect(Duration::from_secs(self.timeout)).await?;
            let bare = self.bare_client(&fresh, &pod, workers).await?.as_secs_f64();
            table.add(BARE, Unit::Seconds, bare);
            let operator = self.operator_round(&manifest, workers, cache, &mut table).await?;
            let aim = Aim::AtMost(1.1);
            table.add_with_aim("operator ÷ bare client", Unit::Ratio, operator / bare, aim);
            self.predecessor
                .measure(&manifest, workers, round, operator, &mut table)
                .await?;
        }
        Ok(table)
    }

    /// Returns the time in which a bare client creates `workers` copies of `pod`.
    async fn bare_client(&self, api: &Api, pod: &Value, workers: usize) -> Result<Duration> {
        let namespace = Namespace::create(api, "bench-bare").await?;
        let mut pods = namespace.watch(Kind::Pod).await?;
        let start = Instant::now();
        tokio::try_join!(
            namespace.create_pods(pod, workers, self.concurrency),
            pods.until(workers)
        )?;
        let duration = start.elapsed();
        namespace.delete().await?;
        Ok(duration)
    }

    /// Measures the operator with one cluster: from the creation of the cluster until all pods exist, then a restart that should
    /// find nothing to do. Returns the first in seconds.
    async fn operator_round(
        &self,
        manifest: &Value,
        workers: usize,
        cache: &Path,
        table: &mut Table,
    ) -> Result<f64> {
        let api = Api::connect(Duration::from_secs(self.timeout)).await?;
        let namespace = Namespace::create(&api, "bench-operator").await?;
        let operator = Operator::start(&self.operator, cache, self.concurrency).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = operator.memory()?.resident;

        let before = operator.requests().await?;
        let mut created = namespace.watch(Kind::Pod).await?;
        let start = Instant::now();
        namespace.create_object(manifest.clone()).await?;
        let pods = workers + 1; // the scheduler's
        created.until(pods).await?;
        let duration = start.elapsed().as_secs_f64();
        operator.wait_until_quiet().await?;
        let requests = operator.requests().await?.since(&before);
        let memory = operator.memory()?;
        let (calls, seconds) = operator.plan_seconds().await?;
        ensure!(
            namespace.count_pods().await? == pods,
            "the operator created more pods than requested"
        );
        let ready = operator.ready_after().as_secs_f64();
        operator.stop().await?;

        let again = Operator::start(&self.operator, cache, self.concurrency).await?;
        again.wait_until_quiet().await?;
        let resync = again.requests().await?.writes();
        again.stop().await.context("stopping the restarted operator")?;
        namespace.delete().await?;

        table.add(OPERATOR, Unit::Seconds, duration);
        table.add("process start to ready", Unit::Seconds, ready);
        table.add_with_aim("memory, idle", Unit::Bytes, idle as f64, Aim::AtMost(30e6));
        table.add("memory afterwards", Unit::Bytes, memory.resident as f64);
        table.add("memory, peak", Unit::Bytes, memory.peak as f64);
        table.add("plan calls", Unit::Count, calls);
        table.add("one plan call, on average", Unit::Seconds, seconds / calls);
        table.add("writing requests", Unit::Count, requests.writes() as f64);
        table.add_with_aim(
            "writing requests of a resync",
            Unit::Count,
            resync as f64,
            Aim::AtMost(0.0),
        );
        Ok(duration)
    }
}

/// Returns a cluster whose workers fit on no node.
fn cluster(workers: usize) -> Value {
    let mut cluster = manifests::cluster("bench", workers);
    cluster["spec"]["worker"]["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "100", "memory": "100Gi"}});
    cluster
}
