//! How fast the operator creates workers, beside a bare client that creates the same pods on the same API
//! server.
//!
//! The cluster that `KUBECONFIG` names should have no node, or none that pods
//! fit on: what is measured is the operator and the API server, not containers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Api, Namespace};
use crate::operator::{self, Operator};
use crate::report::{Report, Round};

/// What is measured.
#[derive(Args)]
pub(crate) struct Workers {
    /// Workers in the cluster.
    #[arg(long, default_value_t = 1000)]
    workers: usize,
    /// Requests in flight at once, for the bare client and for the operator.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// How often each of the two has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    /// How long one round may take, in seconds.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
}

impl Workers {
    /// Measures it.
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
        // Private whatever the umask: the operator runs what lies there.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let cache = tempfile::Builder::new().permissions(private).tempdir()?;
        operator::warm_up(&args.operator, cache.path()).await?;

        let mut report = Report::new(args.workers, args.concurrency);
        for round in 1..=args.rounds {
            eprintln!("round {round} of {}: the bare client", args.rounds);
            // As the operator's: it has just started, and opens its connections when it needs them.
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

/// The time in which a bare client creates `args.workers` copies of `pod`.
async fn bare_client(api: &Api, pod: &Value, args: &Workers) -> Result<Duration> {
    let namespace = Namespace::create(api, "bench-bare").await?;
    let start = Instant::now();
    namespace.create_pods(pod, args.workers, args.concurrency).await?;
    let took = start.elapsed();
    namespace.delete().await?;
    Ok(took)
}

/// What the operator does with one cluster: from `apply` until all pods exist,
/// then a restart that should find nothing to do.
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
        "the operator made more pods than were asked for"
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

/// A cluster as Dask's documentation shows it, with that many workers.
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
