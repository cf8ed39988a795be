//! Benchmark of the failover: the leader of two operators is killed or stopped repeatedly, and each time a new cluster is created.
//! The time until that cluster has a pod is the time without an operator that writes.
//!
//! The cluster that `KUBECONFIG` names should have fake nodes, on which pods run at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rustix::process::Signal;

use crate::api::{Api, Kind};
use crate::manifests;
use crate::namespaces::Namespaces;
use crate::operator;
use crate::replicas::Replicas;
use crate::results::{Aim, Output, Table, Unit, quantile};

/// Number of workers in each cluster.
const WORKERS: usize = 1;

/// Longest random pause before a leader is ended, in seconds. Longer than the interval at which it renews the lease, because the
/// time until another one takes the lease counts from the last renewal.
const PAUSE: f64 = 4.0;

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Failover {
    /// Number of leaders that are killed, and number of leaders that are stopped.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Number of clusters that exist all the time.
    #[arg(long, default_value_t = 100)]
    clusters: usize,
    /// Maximum number of concurrent requests of the operator, and of the client that creates clusters.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    /// Maximum duration of each wait, in seconds.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    #[command(flatten)]
    output: Output,
}

/// A way in which a leader ends.
struct End {
    label: &'static str,
    signal: Signal,
    /// Limit for the 99th percentile, in seconds.
    limit: f64,
}

const ENDS: [End; 2] = [
    End {
        label: "SIGKILL",
        signal: Signal::KILL,
        limit: 11.0,
    },
    End {
        label: "SIGTERM",
        signal: Signal::TERM,
        limit: 0.5,
    },
];

impl Failover {
    /// Runs the benchmark and prints the table.
    pub(crate) async fn run(self) -> Result<()> {
        let cache = operator::cache(&self.operator).await?;
        let api = Api::connect(Duration::from_secs(self.timeout)).await?;
        let namespaces = Namespaces::create(&api, "bench-failover", 1).await?;
        let mut table = Table::new(
            "failover",
            format!(
                "The leader of two operators with {} clusters is ended {} times with each signal",
                self.clusters, self.kills
            ),
        );
        self.measure(&namespaces, cache.path(), &mut table).await?;
        namespaces.delete().await?;
        self.output.table(&table)
    }

    async fn measure(&self, namespaces: &Namespaces, cache: &Path, table: &mut Table) -> Result<()> {
        let lease_namespace = namespaces.of(0).name();
        let mut replicas = Replicas::start(&self.operator, cache, lease_namespace, self.concurrency).await?;
        namespaces
            .each(self.clusters, self.concurrency, async |namespace, i| {
                let manifest = manifests::cluster(&format!("bench-{i:05}"), WORKERS);
                namespace.create_object(manifest).await.map(drop)
            })
            .await?;
        namespaces.wait_for(Kind::Pod, self.clusters, 1 + WORKERS).await?;
        for End { label, signal, limit } in ENDS {
            let until_pod = format!("{label} until a new cluster has a pod");
            let mut samples = Vec::new();
            for kill in 1..=self.kills {
                eprintln!("{label} {kill} of {}", self.kills);
                replicas.wait_until_ready().await?;
                tokio::time::sleep(Duration::from_secs_f64(PAUSE * fastrand::f64())).await;
                let name = format!("new-{}-{kill}", label.to_lowercase());
                let (ended, seconds) = failover(&mut replicas, namespaces, &name, signal).await?;
                table.add(
                    &format!("{label} until the process has ended"),
                    Unit::Seconds,
                    ended,
                );
                table.add(&until_pod, Unit::Seconds, seconds);
                samples.push(seconds);
                replicas.add().await?;
                namespaces.of(0).delete_object(Kind::Cluster, &name).await?;
            }
            let p99 = quantile(&samples, 0.99).context("--kills must be at least 1")?;
            table.add_with_aim(
                &format!("{until_pod}, p99"),
                Unit::Seconds,
                p99,
                Aim::AtMost(limit),
            );
        }
        Ok(())
    }
}

/// Ends the leader and creates a cluster as soon as its process has ended. Returns the times from the signal until the process has
/// ended and until the cluster has a pod, in seconds.
async fn failover(
    replicas: &mut Replicas<'_>,
    namespaces: &Namespaces,
    name: &str,
    signal: Signal,
) -> Result<(f64, f64)> {
    replicas.wait_for_leader().await?;
    let leader = replicas
        .take_leader()
        .await?
        .context("the leader has stopped leading")?;
    let namespace = namespaces.of(0);
    let start = Instant::now();
    leader.end(signal).await?;
    let ended = start.elapsed().as_secs_f64();
    namespace.create_object(manifests::cluster(name, WORKERS)).await?;
    let pods = format!("dask.org/cluster-name={name}");
    let has_pod = async || Ok(namespace.count_labelled(&pods).await? > 0);
    let result = namespace.until("a pod of a new cluster", has_pod).await;
    let seconds = start.elapsed().as_secs_f64();
    result.with_context(|| format!("the ends of the logs:\n{}", replicas.logs()))?;
    Ok((ended, seconds))
}
