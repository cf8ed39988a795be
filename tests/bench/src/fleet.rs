//! Benchmark of many small clusters: the time until they exist, compared with a bare client that creates the same objects, and
//! what the operator uses while nothing changes and when it is restarted.
//!
//! The cluster that `KUBECONFIG` names should have fake nodes, on which pods run at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{ArgAction, Args};
use serde_json::{Value, json};

use crate::api::{Api, Kind};
use crate::bare_client::{PLACEHOLDER, Template};
use crate::chart::{Axis, Chart, Scale};
use crate::manifests;
use crate::namespaces::Namespaces;
use crate::operator::{self, Operator};
use crate::relay::Relay;
use crate::results::{Aim, Output, Table, Unit};

/// Labels of the rows that are compared.
const OPERATOR: &str = "operator, until all statuses are current";
const BARE: &str = "bare client, until all pods run";

/// Number of workers in each new cluster.
const WORKERS: usize = 3;

/// Labels of the pods of clusters.
const PODS: &str = "dask.org/cluster-name";

/// Results that others published, for comparison.
const KUBERAY: &str = "KubeRay's published results, on other machines: 1,000 clusters (4,000 pods) in 269 s, 10,000 clusters \
    (40,000 pods) in 1,604 s.";

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Fleet {
    /// Numbers of clusters, each of which is measured. 10,000 need an address range with as many addresses for Services.
    #[arg(long, action = ArgAction::Set, value_delimiter = ',', default_value = "1000")]
    clusters: Vec<usize>,
    /// Number of workers in each cluster after it was scaled, for the memory and all later measurements.
    #[arg(long, default_value_t = 5)]
    scaled: usize,
    /// Number of namespaces.
    #[arg(long, default_value_t = 20)]
    namespaces: usize,
    /// Maximum number of concurrent requests: of the bare client, of the operator, and of the client that creates clusters.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Number of seconds for which the processor time is measured while nothing changes.
    #[arg(long, default_value_t = 30.0)]
    idle_seconds: f64,
    /// Number of measurements of the bare client and of the operator.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    /// Maximum duration of each wait in a round, in seconds.
    #[arg(long, default_value_t = 1800)]
    timeout: u64,
    #[command(flatten)]
    output: Output,
}

impl Fleet {
    /// Runs the benchmark, prints the tables and stores the chart.
    pub(crate) async fn run(self) -> Result<()> {
        let cache = operator::cache(&self.operator).await?;
        let api = Api::connect(Duration::from_secs(self.timeout)).await?;
        let namespaces = Namespaces::create(&api, "bench-fleet", self.namespaces).await?;
        let (mut operator, mut bare) = (Vec::new(), Vec::new());
        for &clusters in &self.clusters {
            let mut table = Table::new(
                format!("fleet-{clusters}"),
                format!(
                    "{clusters} clusters of a scheduler and {WORKERS} workers in {} namespaces, {} requests in flight",
                    self.namespaces, self.concurrency
                ),
            );
            for round in 1..=self.rounds {
                eprintln!("{clusters} clusters, round {round} of {}", self.rounds);
                let round = Round {
                    args: &self,
                    clusters,
                    cache: cache.path(),
                    namespaces: &namespaces,
                };
                let duration = round.run(&mut table).await?;
                if let Some((fewer, median)) = operator.first() {
                    let ratio = clusters as f64 / fewer;
                    let label = format!("{clusters} clusters ÷ {fewer} clusters");
                    table.add_with_aim(&label, Unit::Ratio, duration / median, Aim::AtMost(1.1 * ratio));
                }
            }
            table.note(KUBERAY);
            self.output.table(&table)?;
            let point = |label: &str| Some((clusters as f64, table.median(label)?));
            operator.extend(point(OPERATOR));
            bare.extend(point(BARE));
        }
        namespaces.delete().await?;
        self.output.chart(
            "fleet",
            &Chart {
                title: "Time until all objects of new clusters exist and run".to_owned(),
                x: Axis::new("clusters", Scale::Logarithmic),
                y: Axis::new("seconds", Scale::Logarithmic),
                lines: vec![
                    ("operator".to_owned(), operator),
                    ("bare client".to_owned(), bare),
                ],
            },
        )
    }
}

/// One measurement of everything with a number of clusters.
struct Round<'a> {
    args: &'a Fleet,
    clusters: usize,
    cache: &'a Path,
    namespaces: &'a Namespaces,
}

impl Round<'_> {
    /// Measures the operator and then the bare client. Returns the time that the operator needed, in seconds.
    async fn run(&self, table: &mut Table) -> Result<f64> {
        let operator = Operator::start(&self.args.operator, self.cache, self.args.concurrency).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = operator.memory()?.resident;
        table.add_with_aim("memory, idle", Unit::Bytes, idle as f64, Aim::AtMost(30e6));

        let before = operator.requests().await?;
        let duration = self.create(table).await?;
        operator.wait_until_quiet().await?;
        let requests = operator.requests().await?.since(&before);
        let for_one = requests.writes() as f64 / self.clusters as f64;
        table.add("writing requests for one cluster", Unit::Count, for_one);
        self.add_memory(&operator, idle, WORKERS, table)?;
        let manifest = manifests::cluster(PLACEHOLDER, WORKERS);
        let first = self.namespaces.of(0);
        let template = Template::new(&self.args.operator, &manifest, &requests, first).await?;

        self.scale(table).await?;
        operator.wait_until_quiet().await?;
        self.add_memory(&operator, idle, self.args.scaled, table)?;
        table.add("memory, peak", Unit::Bytes, operator.memory()?.peak as f64);
        self.idle(&operator, table).await?;
        operator.stop().await?;
        self.resync(table).await?;
        self.change_at_start(table).await?;
        self.namespaces.clear().await?;

        let bare = self.bare_client(&template, table).await?;
        let aim = Aim::AtMost(1.2);
        table.add_with_aim("operator ÷ bare client", Unit::Ratio, duration / bare, aim);
        self.namespaces.clear().await?;
        Ok(duration)
    }

    /// Creates all clusters and waits until they are complete. Returns the time in seconds.
    async fn create(&self, table: &mut Table) -> Result<f64> {
        let start = Instant::now();
        self.namespaces
            .each(self.clusters, self.args.concurrency, async |namespace, i| {
                let manifest = manifests::cluster(&name(i), WORKERS);
                namespace.create_object(manifest).await.map(drop)
            })
            .await?;
        self.wait_for_objects(WORKERS).await?;
        let exist = start.elapsed().as_secs_f64();
        self.wait_for_statuses(WORKERS).await?;
        let duration = start.elapsed().as_secs_f64();
        table.add("operator, until all objects exist", Unit::Seconds, exist);
        table.add(OPERATOR, Unit::Seconds, duration);
        Ok(duration)
    }

    /// Measures the bare client. Returns the time in seconds.
    async fn bare_client(&self, template: &Template, table: &mut Table) -> Result<f64> {
        let start = Instant::now();
        self.namespaces
            .each(self.clusters, self.args.concurrency, async |namespace, i| {
                template.create(namespace, &name(i), i, self.clusters).await
            })
            .await?;
        let exist = start.elapsed().as_secs_f64();
        self.namespaces.wait_for_phase(PODS, "Running").await?;
        let duration = start.elapsed().as_secs_f64();
        table.add("bare client, until all objects exist", Unit::Seconds, exist);
        table.add(BARE, Unit::Seconds, duration);
        Ok(duration)
    }

    /// Waits until all objects of the clusters exist.
    async fn wait_for_objects(&self, workers: usize) -> Result<()> {
        for (kind, for_each) in [
            (Kind::WorkerGroup, 1),
            (Kind::Service, 1),
            (Kind::Pod, 1 + workers),
        ] {
            self.namespaces.wait_for(kind, self.clusters, for_each).await?;
        }
        Ok(())
    }

    /// Waits until the statuses of all clusters and groups show that all workers are ready.
    async fn wait_for_statuses(&self, workers: usize) -> Result<()> {
        for (namespace, share) in self.namespaces.shares(self.clusters) {
            let done = async || {
                for kind in [Kind::Cluster, Kind::WorkerGroup] {
                    let objects = namespace.list(kind).await?;
                    let current = |object| is_current(kind, object, workers);
                    if objects.len() != share.len() || !objects.iter().all(current) {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            namespace.until("current statuses", done).await?;
        }
        Ok(())
    }

    /// Scales all clusters.
    async fn scale(&self, table: &mut Table) -> Result<()> {
        let start = Instant::now();
        let workers = self.args.scaled;
        self.namespaces
            .each(self.clusters, self.args.concurrency, async |namespace, i| {
                let patch = json!({"spec": {"worker": {"replicas": workers}}});
                namespace.patch(Kind::Cluster, &name(i), &patch).await
            })
            .await?;
        self.wait_for_objects(workers).await?;
        self.wait_for_statuses(workers).await?;
        let label = format!("all clusters scaled from {WORKERS} to {workers} workers");
        table.add(&label, Unit::Seconds, start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Adds the memory of the operator while each cluster has this number of workers.
    fn add_memory(&self, operator: &Operator, idle: u64, workers: usize, table: &mut Table) -> Result<()> {
        let resident = operator.memory()?.resident as f64;
        let label = format!("memory with {} workers", self.clusters * workers);
        if (self.clusters, workers) == (1000, 5) {
            table.add_with_aim(&label, Unit::Bytes, resident, Aim::AtMost(100e6));
        } else {
            table.add(&label, Unit::Bytes, resident);
        }
        let for_one = (resident - idle as f64) / (self.clusters * (1 + workers)) as f64;
        let label = format!("{label}, above idle, for each pod");
        table.add_with_aim(&label, Unit::Bytes, for_one, Aim::AtMost(8e3));
        Ok(())
    }

    /// Measures the processor time while nothing changes.
    async fn idle(&self, operator: &Operator, table: &mut Table) -> Result<()> {
        let (start, before) = (Instant::now(), operator.processor_time()?);
        tokio::time::sleep(Duration::from_secs_f64(self.args.idle_seconds)).await;
        let used = operator.processor_time()?.saturating_sub(before);
        let part = used.as_secs_f64() / start.elapsed().as_secs_f64();
        table.add_with_aim("processor, idle", Unit::Processor, part, Aim::AtMost(0.01));
        Ok(())
    }

    /// Measures a restart without changes.
    async fn resync(&self, table: &mut Table) -> Result<()> {
        let relay = Relay::start().await?;
        let mut operator = self.spawn(Some(relay.kubeconfig())).await?;
        operator.wait_until_ready().await?;
        let received = relay.received();
        operator.wait_until_quiet().await?;
        let requests = operator.requests().await?;
        operator.stop().await?;
        table.add("resync: bytes received until ready", Unit::Bytes, received as f64);
        table.add("resync: requests", Unit::Count, requests.total());
        let (writes, aim) = (requests.writes() as f64, Aim::AtMost(0.0));
        if writes > 0.0 {
            eprintln!("requests of the resync: {requests}");
        }
        table.add_with_aim("resync: writing requests", Unit::Count, writes, aim);
        Ok(())
    }

    /// Measures a restart with a change right after the start: one cluster is scaled.
    async fn change_at_start(&self, table: &mut Table) -> Result<()> {
        let namespace = self.namespaces.of(0);
        let pods = format!("{PODS}={}", name(0));
        let start = Instant::now();
        let mut operator = self.spawn(None).await?;
        let patch = json!({"spec": {"worker": {"replicas": self.args.scaled + 1}}});
        namespace.patch(Kind::Cluster, &name(0), &patch).await?;
        let write = async {
            let done = async || Ok(namespace.count_labelled(&pods).await? > 1 + self.args.scaled);
            namespace.until("a new worker", done).await?;
            anyhow::Ok(start.elapsed().as_secs_f64())
        };
        let (ready, write) = tokio::join!(operator.wait_until_ready(), write);
        ready?;
        let ready = operator.ready_after().as_secs_f64();
        operator.stop().await?;
        table.add("restart, until ready", Unit::Seconds, ready);
        let (label, aim) = (
            "restart, until a change made meanwhile has a new pod",
            Aim::AtMost(0.5),
        );
        table.add_with_aim(label, Unit::Seconds, write?, aim);
        Ok(())
    }

    async fn spawn(&self, kubeconfig: Option<&Path>) -> Result<Operator> {
        let concurrency = self.args.concurrency.to_string();
        let arguments = ["--writes-in-flight", &concurrency];
        Operator::spawn(&self.args.operator, self.cache, &arguments, kubeconfig).await
    }
}

/// Returns the name of cluster `i`.
fn name(i: usize) -> String {
    format!("bench-{i:05}")
}

/// Returns whether the status of a cluster or a group is that of its current generation, with this number of ready workers.
fn is_current(kind: Kind, object: &Value, workers: usize) -> bool {
    let status = &object["status"];
    status["observedGeneration"] == object["metadata"]["generation"]
        && [&status["replicas"], &status["readyReplicas"]]
            .iter()
            .all(|count| **count == json!(workers))
        && (kind != Kind::Cluster || status["phase"] == "Running")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_current_if_it_shows_all_workers_of_the_last_generation() {
        let status = json!({"observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "phase": "Running"});
        let object = json!({"metadata": {"generation": 2}, "status": status});
        assert!(is_current(Kind::Cluster, &object, 3));
        assert!(!is_current(Kind::Cluster, &object, 4));
        for (field, value) in [
            ("observedGeneration", json!(1)),
            ("readyReplicas", json!(2)),
            ("phase", json!("Pending")),
        ] {
            let mut other = object.clone();
            other["status"][field] = value;
            assert!(!is_current(Kind::Cluster, &other, 3), "{field}");
        }
        let mut group = object;
        group["status"]["phase"] = Value::Null;
        assert!(is_current(Kind::WorkerGroup, &group, 3));
        assert!(!is_current(Kind::Cluster, &group, 3));
        assert!(!is_current(
            Kind::WorkerGroup,
            &json!({"metadata": {"generation": 1}}),
            3
        ));
    }
}
