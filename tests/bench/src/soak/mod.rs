//! Long run of two operators under load: clusters are created, scaled, rolled and deleted at random ([`script`]), and the leader
//! is killed again and again. At the end everything must be as desired ([`state`]). The memory over time is drawn as a chart.
//!
//! The cluster that `KUBECONFIG` names should have fake nodes, on which pods run at once.

mod script;
mod state;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Api, Kind};
use crate::chart::{Axis, Chart, Scale};
use crate::manifests;
use crate::namespaces::Namespaces;
use crate::operator::{self, Requests};
use crate::replicas::{Replicas, TAKEOVER_LIMIT};
use crate::results::{Aim, Output, Table, Unit, quantile};

use script::{Change, Desired, Script};

/// Interval of the samples of the memory and of the queue.
const SAMPLE: Duration = Duration::from_secs(1);

/// Maximum number of differences from the desired state that an error contains.
const SHOWN: usize = 20;

/// Metric of the time since the first of the objects in the work queue was due.
const LONGEST_WAIT: &str = "dask_operator_queue_longest_wait_seconds";

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Soak {
    /// Number of clusters, about which the number stays.
    #[arg(long, default_value_t = 1000)]
    clusters: usize,
    /// Average number of workers of a cluster.
    #[arg(long, default_value_t = 5)]
    workers: usize,
    /// Duration of the changes, in minutes.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Minutes between two kills of the leader.
    #[arg(long, default_value_t = 10.0)]
    kill_every: f64,
    /// Changes of clusters per second.
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// Seed of the changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of namespaces.
    #[arg(long, default_value_t = 20)]
    namespaces: usize,
    /// Maximum number of concurrent requests of the operator, and of the client that creates the first clusters.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    /// Maximum duration of each wait, in seconds: until the first clusters are complete, and until everything has settled.
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    #[command(flatten)]
    output: Output,
}

impl Soak {
    /// Runs the benchmark, prints the table and stores the chart. An error if the state at the end is not the desired one.
    pub(crate) async fn run(self) -> Result<()> {
        let cache = operator::cache(&self.operator).await?;
        let api = Api::connect(Duration::from_secs(self.timeout)).await?;
        let namespaces = Namespaces::create(&api, "bench-soak", self.namespaces).await?;
        let mut table = Table::new(
            "soak",
            format!(
                "{} clusters with {} workers on average for {} min, {} changes a second, the leader killed every {} min, seed {}",
                self.clusters, self.workers, self.minutes, self.rate, self.kill_every, self.seed
            ),
        );
        let mut observed = Observed::start(&self, cache.path(), &namespaces).await?;
        let mut script = Script::new(self.seed, self.clusters, self.workers);

        let start = Instant::now();
        self.fill(&namespaces, &mut script).await?;
        self.settle(&namespaces, &script, &mut observed).await?;
        table.add(
            "creation of the clusters",
            Unit::Seconds,
            start.elapsed().as_secs_f64(),
        );
        observed.begin_samples();

        let changes = self.change(&namespaces, &mut script, &mut observed).await?;
        table.add("changes", Unit::Count, changes as f64);
        let last = Instant::now();
        let settled = self.settle(&namespaces, &script, &mut observed).await;
        if settled.is_err() {
            eprintln!("the ends of the logs:\n{}", observed.replicas.logs());
        }
        settled?;
        table.add(
            "last change until all is settled",
            Unit::Seconds,
            last.elapsed().as_secs_f64(),
        );
        table.add_with_aim(
            "missing or superfluous objects",
            Unit::Count,
            0.0,
            Aim::AtMost(0.0),
        );
        let chart = observed.finish(&mut table).await?;
        self.output.table(&table)?;
        self.output.chart("soak", &chart)?;
        namespaces.delete().await
    }

    /// Creates the first clusters.
    async fn fill(&self, namespaces: &Namespaces, script: &mut Script) -> Result<()> {
        while script.clusters().len() < self.clusters {
            script.create();
        }
        let desired = script.clusters();
        namespaces
            .each(self.clusters, self.concurrency, async |namespace, i| {
                let manifest = manifest(i, desired.get(&i).context("no cluster with this number")?);
                namespace.create_object(manifest).await.map(drop)
            })
            .await
    }

    /// Changes clusters and kills leaders for the whole duration. Returns the number of changes.
    async fn change(
        &self,
        namespaces: &Namespaces,
        script: &mut Script,
        observed: &mut Observed<'_>,
    ) -> Result<usize> {
        let minutes = |minutes: f64| Duration::from_secs_f64(60.0 * minutes);
        let (start, duration) = (Instant::now(), minutes(self.minutes));
        let (mut changes, mut kills) = (0, 0);
        while start.elapsed() < duration {
            if start.elapsed() >= minutes(self.kill_every) * (kills + 1) && observed.kill_leader().await? {
                kills += 1;
                eprintln!(
                    "minute {:.1}: leader killed, {changes} changes",
                    start.elapsed().as_secs_f64() / 60.0
                );
            }
            if start.elapsed().as_secs_f64() * self.rate >= f64::from(changes) {
                let (number, change) = script.change();
                let namespace = namespaces.of(number);
                match change {
                    Change::Create(desired) => namespace
                        .create_object(manifest(number, &desired))
                        .await
                        .map(drop),
                    Change::Update(desired) => {
                        let patch = json!({"spec": {"worker": manifest(number, &desired)["spec"]["worker"]}});
                        namespace.patch(Kind::Cluster, &name(number), &patch).await
                    }
                    Change::Delete => namespace.delete_object(Kind::Cluster, &name(number)).await,
                }?;
                changes += 1;
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            observed.observe().await?;
        }
        Ok(usize::try_from(changes)?)
    }

    /// Waits until the state is the desired one.
    async fn settle(
        &self,
        namespaces: &Namespaces,
        script: &Script,
        observed: &mut Observed<'_>,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            let read = Instant::now();
            let problems = self.problems(namespaces, script).await?;
            if problems.is_empty() {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(self.timeout) {
                bail!(
                    "{} differences from the desired state after {} s without changes:\n{}",
                    problems.len(),
                    self.timeout,
                    problems
                        .iter()
                        .take(SHOWN)
                        .cloned()
                        .collect::<Vec<_>>()
                        .join("\n")
                );
            }
            // Reading thousands of objects again and again would slow the operator down.
            let pause = (10 * read.elapsed()).max(SAMPLE);
            let begin = Instant::now();
            while begin.elapsed() < pause {
                tokio::time::sleep(Duration::from_millis(100)).await;
                observed.observe().await?;
            }
        }
    }

    /// Returns what differs from the desired state.
    async fn problems(&self, namespaces: &Namespaces, script: &Script) -> Result<Vec<String>> {
        let mut objects = Vec::new();
        for namespace in namespaces.iter() {
            for kind in Kind::ALL {
                objects.extend(
                    namespace
                        .list(kind)
                        .await?
                        .into_iter()
                        .map(|object| (kind, object)),
                );
            }
        }
        let key = |number: usize| (namespaces.of(number).name().to_owned(), name(number));
        let clusters = script.clusters().iter();
        let desired = clusters
            .map(|(number, desired)| (key(*number), desired.workers))
            .collect();
        Ok(state::problems(&desired, objects))
    }
}

/// Two operators, one of which leads, and samples of both.
struct Observed<'a> {
    replicas: Replicas<'a>,
    /// Number of clusters, for the title of the chart.
    clusters: usize,
    /// Time of the last kill, until another operator leads.
    killed: Option<Instant>,
    /// Times from kills until another operator led, in seconds.
    takeovers: Vec<f64>,
    /// Requests of killed operators.
    requests: Requests,
    begin: Instant,
    sampled: Instant,
    /// Memory of the leader and of the other operator over time.
    memory: [Vec<(f64, f64)>; 2],
    /// Longest waits in the leader's queue, in seconds.
    waits: Vec<f64>,
}

impl<'a> Observed<'a> {
    /// Starts two operators and waits until one of them leads.
    async fn start(args: &'a Soak, cache: &'a Path, namespaces: &'a Namespaces) -> Result<Self> {
        let namespace = namespaces.of(0).name();
        Ok(Self {
            replicas: Replicas::start(&args.operator, cache, namespace, args.concurrency).await?,
            clusters: args.clusters,
            killed: None,
            takeovers: Vec::new(),
            requests: Requests::default(),
            begin: Instant::now(),
            sampled: Instant::now(),
            memory: [Vec::new(), Vec::new()],
            waits: Vec::new(),
        })
    }

    /// Kills the operator that leads, and starts another one. Returns false if none leads.
    async fn kill_leader(&mut self) -> Result<bool> {
        let Some(leader) = self.replicas.take_leader().await? else {
            return Ok(false);
        };
        self.requests.add(&leader.requests().await?);
        leader.stop().await?;
        self.killed = Some(Instant::now());
        self.replicas.add().await?;
        Ok(true)
    }

    /// Discards all samples.
    fn begin_samples(&mut self) {
        (self.begin, self.sampled) = (Instant::now(), Instant::now());
        self.memory = [Vec::new(), Vec::new()];
        self.waits.clear();
    }

    /// Takes samples if they are due. After a kill, checks whether another operator leads.
    async fn observe(&mut self) -> Result<()> {
        if self.sampled.elapsed() < SAMPLE && self.killed.is_none() {
            return Ok(());
        }
        let leader = self.replicas.leader().await?;
        if let Some(killed) = self.killed {
            if leader.is_some() {
                self.takeovers.push(killed.elapsed().as_secs_f64());
                self.killed = None;
            }
            ensure!(
                killed.elapsed() < TAKEOVER_LIMIT,
                "no operator leads {} s after the leader was killed",
                TAKEOVER_LIMIT.as_secs()
            );
        }
        if self.sampled.elapsed() < SAMPLE {
            return Ok(());
        }
        self.sampled = Instant::now();
        let minutes = self.begin.elapsed().as_secs_f64() / 60.0;
        for (at, operator) in self.replicas.running().iter().enumerate() {
            let line = usize::from(leader != Some(at));
            self.memory[line].push((minutes, operator.memory()?.resident as f64 / 1e6));
        }
        if let Some(at) = leader {
            let leader = &self.replicas.running()[at];
            self.waits.extend(leader.gauge(LONGEST_WAIT).await?);
        }
        Ok(())
    }

    /// Stops the operators, adds the results to the table, and returns the chart of the memory.
    async fn finish(mut self, table: &mut Table) -> Result<Chart> {
        for operator in self.replicas.into_running() {
            self.requests.add(&operator.requests().await?);
            operator.stop().await?;
        }
        for seconds in &self.takeovers {
            table.add(
                "kill of the leader until another one leads",
                Unit::Seconds,
                *seconds,
            );
        }
        let [leader, standby] = &self.memory;
        for (label, samples) in [
            ("memory of the leader, first tenth", part(leader, 0.0, 0.1)),
            ("memory of the leader, last tenth", part(leader, 0.9, 1.0)),
            (
                "memory of the other operator, last tenth",
                part(standby, 0.9, 1.0),
            ),
        ] {
            for (_, megabytes) in samples {
                table.add(label, Unit::Bytes, megabytes * 1e6);
            }
        }
        let p99 = quantile(&self.waits, 0.99).context("no samples of the queue: the run was too short")?;
        table.add("longest wait in the queue, p99 of samples", Unit::Seconds, p99);
        for (verb, count) in self.requests.by_verb() {
            table.add(&format!("requests: {verb}"), Unit::Count, count);
        }
        let [leader, standby] = self.memory;
        Ok(Chart {
            title: format!("Memory of two operators, with {} clusters", self.clusters),
            x: Axis::new("minutes", Scale::Linear),
            y: Axis::new("MB", Scale::Linear),
            lines: vec![
                ("leader".to_owned(), leader),
                ("other operator".to_owned(), standby),
            ],
        })
    }
}

/// Returns the name of a cluster.
fn name(number: usize) -> String {
    format!("bench-{number:05}")
}

/// Returns the manifest of a cluster.
fn manifest(number: usize, desired: &Desired) -> Value {
    let mut manifest = manifests::cluster(&name(number), desired.workers);
    let worker = &mut manifest["spec"]["worker"];
    // No scheduler answers at the addresses of fake pods, so workers that could not leave otherwise are deleted after 30 s.
    worker["scaleDown"] = json!("unsafe");
    worker["spec"]["containers"][0]["env"] =
        json!([{"name": "VERSION", "value": desired.version.to_string()}]);
    manifest
}

/// Returns the points between two parts of the whole, such as 0.9 and 1 for the last tenth. At least one, if there are any.
fn part(points: &[(f64, f64)], from: f64, to: f64) -> &[(f64, f64)] {
    let at = |part: f64| (points.len() as f64 * part) as usize;
    let first = at(from).min(points.len().saturating_sub(1));
    points.get(first..at(to).max(first + 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_at_least_one_point() {
        let points: Vec<_> = (0..20).map(|i| (f64::from(i), 0.0)).collect();
        assert_eq!(part(&points, 0.0, 0.1), &points[..2]);
        assert_eq!(part(&points, 0.9, 1.0), &points[18..]);
        assert_eq!(part(&points[..1], 0.9, 1.0), &points[..1]);
        assert_eq!(part(&[], 0.9, 1.0), &[]);
    }

    #[test]
    fn changes_change_the_manifest() {
        let desired = Desired {
            workers: 2,
            version: 1,
        };
        let manifest = |desired| manifest(7, &desired)["spec"].clone();
        assert_eq!(manifest(desired)["worker"]["replicas"], 2);
        let rolled = manifest(Desired {
            version: 2,
            ..desired
        });
        assert_ne!(rolled["worker"]["spec"], manifest(desired)["worker"]["spec"]);
        assert_eq!(rolled["scheduler"], manifest(desired)["scheduler"]);
    }
}
