//! Benchmark of the whole life of many jobs: a job is created, its cluster and its runner run, the runner ends, the job is
//! successful, and its cluster is deleted. Compared with a bare client that creates and deletes the same objects.
//!
//! The cluster that `KUBECONFIG` names must have fake nodes, on which pods run at once and runners end as their annotation says.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{Api, Kind, Namespace};
use crate::bare_client::{PLACEHOLDER, Template};
use crate::manifests;
use crate::namespaces::{Namespaces, Share};
use crate::operator::{self, Operator};
use crate::results::{Aim, Output, Table, Unit, median};

/// Labels of the pods that run the code of jobs.
const RUNNERS: &str = "dask.org/component=job-runner";

/// Results that others published, for comparison.
const KUBERAY: &str = "KubeRay's published result, on other machines: 10,000 jobs in 5,735 s.";

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Jobs {
    /// Number of jobs. 10,000 need an address range with as many addresses for Services.
    #[arg(long, default_value_t = 1000)]
    jobs: usize,
    /// Number of workers of each job.
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Number of seconds for which the code of a job runs.
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Number of namespaces.
    #[arg(long, default_value_t = 20)]
    namespaces: usize,
    /// Maximum number of concurrent requests: of the bare client, of the operator, and of the client that creates jobs.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Number of measurements of the bare client and of the operator.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    /// Maximum duration of each wait in a round, in seconds.
    #[arg(long, default_value_t = 3600)]
    timeout: u64,
    #[command(flatten)]
    output: Output,
}

impl Jobs {
    /// Runs the benchmark and prints the table.
    pub(crate) async fn run(self) -> Result<()> {
        let args = self;
        let cache = operator::cache(&args.operator).await?;
        let api = Api::connect(Duration::from_secs(args.timeout)).await?;
        let namespaces = Namespaces::create(&api, "bench-jobs", args.namespaces).await?;
        let mut table = Table::new(
            format!("jobs-{}", args.jobs),
            format!(
                "{} jobs of {} s with a scheduler and {} workers each in {} namespaces, {} requests in flight",
                args.jobs, args.seconds, args.workers, args.namespaces, args.concurrency
            ),
        );
        warm_up(namespaces.of(0)).await?;
        for round in 1..=args.rounds {
            eprintln!("{} jobs, round {round} of {}", args.jobs, args.rounds);
            args.round(&namespaces, cache.path(), &mut table).await?;
        }
        table.note(KUBERAY);
        namespaces.delete().await?;
        args.output.table(&table)
    }

    /// Measures the operator and then the bare client.
    async fn round(&self, namespaces: &Namespaces, cache: &Path, table: &mut Table) -> Result<()> {
        let operator = Operator::start(&self.operator, cache, self.concurrency).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = operator.memory()?.resident;

        let before = operator.requests().await?;
        let start = Instant::now();
        namespaces
            .each(self.jobs, self.concurrency, async |namespace, i| {
                let manifest = manifests::job(&name(i), self.workers, self.seconds);
                namespace.create_object(manifest).await.map(drop)
            })
            .await?;
        for (namespace, share) in namespaces.shares(self.jobs) {
            let successful = async || {
                let jobs = namespace.list(Kind::Job).await?;
                Ok(jobs.len() == share.len() && jobs.iter().all(is_successful))
            };
            namespace.until("successful jobs", successful).await?;
        }
        let successful = start.elapsed().as_secs_f64();
        self.wait_for_removal(namespaces).await?;
        let duration = start.elapsed().as_secs_f64();
        operator.wait_until_quiet().await?;
        let requests = operator.requests().await?.since(&before);
        let memory = operator.memory()?;
        operator.stop().await?;

        table.add(
            "operator, until all jobs are successful",
            Unit::Seconds,
            successful,
        );
        table.add(
            "operator, until all clusters are removed",
            Unit::Seconds,
            duration,
        );
        table.add("jobs a second", Unit::PerSecond, self.jobs as f64 / duration);
        let ages = Self::durations(namespaces).await?;
        table.add(
            "one job, from creation to end (whole seconds)",
            Unit::Seconds,
            median(&ages),
        );
        let writes = requests.writes() as f64 / self.jobs as f64;
        table.add("writing requests for one job", Unit::Count, writes);
        table.add_with_aim("memory, idle", Unit::Bytes, idle as f64, Aim::AtMost(30e6));
        table.add("memory, peak", Unit::Bytes, memory.peak as f64);
        table.add("memory afterwards", Unit::Bytes, memory.resident as f64);

        let manifest = manifests::job(PLACEHOLDER, self.workers, self.seconds);
        let template = Template::new(&self.operator, &manifest, &requests, namespaces.of(0)).await?;
        namespaces.clear().await?;
        let bare = self.bare_client(namespaces, &template).await?;
        namespaces.clear().await?;
        table.add("bare client, until all clusters are removed", Unit::Seconds, bare);
        let aim = Aim::AtMost(1.2);
        table.add_with_aim("operator ÷ bare client", Unit::Ratio, duration / bare, aim);
        Ok(())
    }

    /// Returns the time in which a bare client does the same, in seconds. It deletes the clusters of a namespace when the runners
    /// there have ended, while it creates those of the next namespaces.
    async fn bare_client(&self, namespaces: &Namespaces, template: &Template) -> Result<f64> {
        let start = Instant::now();
        stream::iter(namespaces.shares(self.jobs))
            .then(async |(namespace, share)| {
                let create = async |i| template.create(namespace, &name(i), i, self.jobs).await;
                self.each(share, create).await?;
                Ok((namespace, share))
            })
            .map_ok(async |(namespace, share): (&Namespace, Share)| {
                let ended = async || namespace.are_all_pods(RUNNERS, "Succeeded").await;
                namespace.until("the end of the runners", ended).await?;
                let delete = async |i| namespace.delete_object(Kind::Cluster, &name(i)).await;
                self.each(share, delete).await
            })
            .try_buffer_unordered(self.namespaces.max(1))
            .try_collect::<()>()
            .await?;
        self.wait_for_removal(namespaces).await?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Calls `act` with each number of a share, at most [`Self::concurrency`] at a time.
    async fn each(&self, share: Share, act: impl AsyncFn(usize) -> Result<()>) -> Result<()> {
        let act = &act;
        stream::iter(share.numbers())
            .map(async |i| act(i).await)
            .buffer_unordered(self.concurrency)
            .try_collect()
            .await
    }

    /// Waits until nothing is left but the jobs and their runners.
    async fn wait_for_removal(&self, namespaces: &Namespaces) -> Result<()> {
        for kind in [Kind::Cluster, Kind::WorkerGroup, Kind::Service] {
            namespaces.wait_for(kind, 0, 0).await?;
        }
        namespaces.wait_for(Kind::Pod, self.jobs, 1).await
    }

    /// Returns the time of each job from its creation to its end, in seconds.
    async fn durations(namespaces: &Namespaces) -> Result<Vec<f64>> {
        let mut durations = Vec::new();
        for namespace in namespaces.iter() {
            durations.extend(namespace.list(Kind::Job).await?.iter().filter_map(duration));
        }
        Ok(durations)
    }
}

/// Waits until the garbage collection knows the Dask resources, which it does not in the first 30 s after their definition.
async fn warm_up(namespace: &Namespace) -> Result<()> {
    let cluster = manifests::cluster("warm-up", 1);
    let uid = namespace.create_object(cluster.clone()).await?;
    let owner =
        json!({"apiVersion": cluster["apiVersion"], "kind": cluster["kind"], "name": "warm-up", "uid": uid});
    let group = json!({
        "apiVersion": cluster["apiVersion"],
        "kind": "DaskWorkerGroup",
        "metadata": {"name": "warm-up", "ownerReferences": [owner]},
        "spec": {"cluster": "warm-up", "worker": cluster["spec"]["worker"]},
    });
    namespace.create_object(group).await?;
    namespace.delete_object(Kind::Cluster, "warm-up").await?;
    namespace.wait_for(Kind::WorkerGroup, 0).await
}

/// Returns the name of job `i`.
fn name(i: usize) -> String {
    format!("bench-{i:05}")
}

/// Returns whether a job has ended with success.
fn is_successful(job: &Value) -> bool {
    job["status"]["jobStatus"] == "Successful"
}

/// Returns the time of a job from its creation to its end, in seconds. `None` if it has not ended.
fn duration(job: &Value) -> Option<f64> {
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let (created, ended) = (
        time(&job["metadata"]["creationTimestamp"])?,
        time(&job["status"]["endTime"])?,
    );
    Some(ended.duration_since(created).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duration_of_a_job_is_known_when_it_has_ended() {
        let mut job = json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"jobStatus": "Running"},
        });
        assert_eq!((is_successful(&job), duration(&job)), (false, None));
        job["status"] = json!({"jobStatus": "Successful", "endTime": "2026-01-01T00:01:04Z"});
        assert_eq!((is_successful(&job), duration(&job)), (true, Some(64.0)));
    }
}
