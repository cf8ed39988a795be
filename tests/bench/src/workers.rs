//! Benchmark of the creation of workers, compared with a bare client that creates the same pods on the same API server.
//!
//! The cluster that `KUBECONFIG` names should have no node that the pods fit on, because the benchmark measures the operator
//! and the API server, not containers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Api, Namespace};
use crate::operator::{self, Operator};
use crate::report::{Report, Round};

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Workers {
    /// Number of workers in the cluster.
    #[arg(long, default_value_t = 1000)]
    workers: usize,
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
}

impl Workers {
    /// Runs the benchmark and prints the report.
    pub(crate) async fn run(self) -> Result<()> {
        let args = self;
        ensure!(
            args.operator.exists(),
            "{} does not exist: build it with `cargo build --release`, or name another with --operator",
            args.operator.display()
        );
        let api = Api::connect(Duration::from_secs(args.timeout)).await?;
        let manifest = cluster(args.workers);
        let pod = operator::render_worker(&args.operator, &manifest)?;
        // Private regardless of the umask, because the operator executes the code in this folder.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let cache = tempfile::Builder::new().permissions(private).tempdir()?;
        operator::warm_up(&args.operator, cache.path()).await?;

        let mut report = Report::new(args.workers, args.concurrency);
        for round in 1..=args.rounds {
            eprintln!("round {round} of {}: the bare client", args.rounds);
            // A new client, because the operator also starts without open connections.
            let fresh = Api::connect(Duration::from_secs(args.timeout)).await?;
            let bare = bare_client(&fresh, &pod, &args).await?;
            eprintln!("round {round} of {}: the operator", args.rounds);
            report.add(Round {
                bare,
                ..operator_round(&api, &manifest, &args, cache.path()).await?
            });
        }
        report.print();
        Ok(())
    }
}

/// Returns the time in which a bare client creates `args.workers` copies of `pod`.
async fn bare_client(api: &Api, pod: &Value, args: &Workers) -> Result<Duration> {
    let namespace = Namespace::create(api, "bench-bare").await?;
    let start = Instant::now();
    namespace.create_pods(pod, args.workers, args.concurrency).await?;
    let duration = start.elapsed();
    namespace.delete().await?;
    Ok(duration)
}

/// Measures the operator with one cluster: from the creation of the cluster until all pods exist, then a restart that should
/// find nothing to do.
async fn operator_round(
    api: &Api,
    manifest: &Value,
    args: &Workers,
    cache: &std::path::Path,
) -> Result<Round> {
    let namespace = Namespace::create(api, "bench-operator").await?;
    let operator = Operator::start(&args.operator, cache, args.concurrency).await?;
    let ready = operator.ready_after();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle_memory = operator.memory()?.resident;

    let before = operator.requests().await?;
    let start = Instant::now();
    namespace.create_cluster(manifest).await?;
    let pods = args.workers + 1; // the scheduler's
    namespace.wait_for_pods(pods).await?;
    let operator_time = start.elapsed();
    operator.wait_until_quiet().await?;
    let requests = operator.requests().await?.since(&before);
    let memory = operator.memory()?;
    let plans = operator.plan_seconds().await?;
    ensure!(
        namespace.count_pods().await? == pods,
        "the operator created more pods than requested"
    );
    operator.stop().await?;

    let again = Operator::start(&args.operator, cache, args.concurrency).await?;
    again.wait_until_quiet().await?;
    let resync_writes = again.requests().await?.writes();
    again.stop().await.context("stopping the restarted operator")?;
    namespace.delete().await?;
    Ok(Round {
        bare: Duration::ZERO,
        operator: operator_time,
        ready,
        requests,
        idle_memory,
        memory,
        plans,
        resync_writes,
    })
}

/// Returns the cluster of Dask's documentation with the given number of workers.
fn cluster(workers: usize) -> Value {
    let ports = |name: &str, port: u16| json!({"name": name, "containerPort": port, "protocol": "TCP"});
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "bench"},
        "spec": {
            "worker": {
                "replicas": workers,
                "spec": {"containers": [{
                    "name": "worker",
                    "image": "ghcr.io/dask/dask:latest",
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["dask-worker", "--name", "$(DASK_WORKER_NAME)", "--dashboard", "--dashboard-address", "8788"],
                    "ports": [ports("http-dashboard", 8788)],
                    "resources": {"requests": {"cpu": "100", "memory": "100Gi"}},
                }]},
            },
            "scheduler": {
                "spec": {"containers": [{
                    "name": "scheduler",
                    "image": "ghcr.io/dask/dask:latest",
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["dask-scheduler"],
                    "ports": [ports("tcp-comm", 8786), ports("http-dashboard", 8787)],
                    "readinessProbe": {"httpGet": {"port": "http-dashboard", "path": "/health"}},
                }]},
                "service": {
                    "type": "ClusterIP",
                    "selector": {"dask.org/cluster-name": "bench", "dask.org/component": "scheduler"},
                    "ports": [
                        {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": "tcp-comm"},
                        {"name": "http-dashboard", "protocol": "TCP", "port": 8787, "targetPort": "http-dashboard"},
                    ],
                },
            },
        },
    })
}
