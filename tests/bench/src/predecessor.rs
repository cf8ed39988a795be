//! dask-kubernetes, the operator that this project replaces, as a child process that the benchmark of workers also measures.
//!
//! It runs as its chart starts it: with `--standalone --all-namespaces`, and with its defaults for everything else. It differs
//! from the operator in this:
//!
//! * For the scheduler and for each worker, it creates a Deployment, one after the other. The controller manager creates their
//!   pods. So the time until all pods exist also depends on the request rates of the controller manager, which are 20 a second by
//!   default. The local cluster has higher ones, which is in favour of dask-kubernetes. `BENCH_RATES=default` keeps the defaults.
//! * It waits for no pod before it creates workers, so it needs no node either.
//! * It is not ready when it answers its liveness probe. So it first handles a cluster without workers, which is not measured.
//!   This is also in its favour, because its connections are open then.
//! * It sets a finalizer on clusters. So they are deleted while it still runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{ArgAction, Args};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::api::{Api, Kind, Namespace};
use crate::manifests;
use crate::operator::get;
use crate::process::{Memory, Program};
use crate::results::{Aim, Table, Unit};

/// Labels of the rows that are compared.
pub(crate) const PREDECESSOR: &str = "dask-kubernetes, from apply until all pods exist";
const RATIO: &str = "dask-kubernetes ÷ operator";

/// Maximum duration of each wait. With the default request rates, a thousand workers take minutes.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// Arguments about dask-kubernetes.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The program `kopf` of a Python environment with dask-kubernetes, which is measured, too.
    #[arg(long, value_name = "KOPF")]
    predecessor: Option<PathBuf>,
    /// Those of the numbers of workers with which dask-kubernetes is measured.
    #[arg(long, action = ArgAction::Set, value_delimiter = ',', default_value = "100,1000")]
    predecessor_workers: Vec<usize>,
    /// Number of rounds in which dask-kubernetes is measured: the first ones.
    #[arg(long, default_value_t = 3)]
    predecessor_rounds: usize,
    /// The controller manager and the scheduler of the cluster have their default request rates. This changes the limit for
    /// dask-kubernetes and the names of the results, not the rates.
    #[arg(long)]
    pub(crate) default_rates: bool,
}

impl Arguments {
    /// Returns the program if it is measured in a round with a number of workers.
    fn program(&self, workers: usize, round: usize) -> Option<&Path> {
        let measured = self.predecessor_workers.contains(&workers) && round <= self.predecessor_rounds;
        self.predecessor.as_deref().filter(|_| measured)
    }

    /// Returns the limit of the ratio of both durations. `None` with few workers.
    fn aim(&self, workers: usize) -> Option<Aim> {
        let least = if self.default_rates { 80.0 } else { 40.0 };
        (workers >= 1000).then_some(Aim::AtLeast(least))
    }

    /// Measures a round, if it is one in which dask-kubernetes is measured. `operator` is the operator's duration in this round, in
    /// seconds.
    pub(crate) async fn measure(
        &self,
        manifest: &Value,
        workers: usize,
        round: usize,
        operator: f64,
        table: &mut Table,
    ) -> Result<()> {
        let Some(program) = self.program(workers, round) else {
            return Ok(());
        };
        eprintln!("{workers} workers, dask-kubernetes in round {round}");
        let api = Api::connect(TIMEOUT).await?;
        let namespace = Namespace::create(&api, "bench-predecessor").await?;
        let predecessor = Predecessor::start(program).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle = predecessor.memory()?.resident;
        warm_up(&namespace).await?;

        let start = Instant::now();
        namespace.create_object(manifest.clone()).await?;
        let pods = workers + 1; // the scheduler's
        namespace.wait_for(Kind::Deployment, pods).await?;
        let deployments = start.elapsed().as_secs_f64();
        namespace.wait_for_pods(pods).await?;
        let duration = start.elapsed().as_secs_f64();
        // It lists what it has created once more.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let memory = predecessor.memory()?.resident;
        ensure!(
            namespace.count_pods().await? == pods,
            "dask-kubernetes created more pods than requested"
        );
        namespace.delete().await?;
        predecessor.0.stop().await?;

        table.add(PREDECESSOR, Unit::Seconds, duration);
        let until = "dask-kubernetes, until all Deployments exist";
        table.add(until, Unit::Seconds, deployments);
        let ratio = duration / operator;
        match self.aim(workers) {
            Some(aim) => table.add_with_aim(RATIO, Unit::Ratio, ratio, aim),
            None => table.add(RATIO, Unit::Ratio, ratio),
        }
        table.add("dask-kubernetes, memory idle", Unit::Bytes, idle as f64);
        table.add("dask-kubernetes, memory afterwards", Unit::Bytes, memory as f64);
        Ok(())
    }
}

/// A running dask-kubernetes. The process is killed when this is dropped.
struct Predecessor(Program);

impl Predecessor {
    /// Starts it and waits until it answers its liveness probe.
    async fn start(kopf: &Path) -> Result<Self> {
        ensure!(
            kopf.exists(),
            "{} does not exist: name the kopf of an environment with tests/bench/requirements.txt (tests/venv creates it)",
            kopf.display()
        );
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
        let mut program = Program::start(
            "dask-kubernetes",
            Command::new(kopf)
                .args(["run", "-m", "dask_kubernetes.operator.controller"])
                .args(["--standalone", "--all-namespaces"])
                .arg(format!("--liveness=http://{address}/healthz")),
        )?;
        program
            .until("alive", async || get(&address, "/healthz").await.is_ok())
            .await?;
        Ok(Self(program))
    }

    fn memory(&self) -> Result<Memory> {
        Memory::of(self.0.id()?)
    }
}

/// Waits until dask-kubernetes has created a cluster without workers, and deletes the cluster.
async fn warm_up(namespace: &Namespace) -> Result<()> {
    namespace.create_object(manifests::cluster("warm-up", 0)).await?;
    // The worker group is created last.
    namespace.wait_for(Kind::WorkerGroup, 1).await?;
    namespace.wait_for_pods(1).await?;
    namespace.clear().await.context("deleting the first cluster")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(default_rates: bool) -> Arguments {
        Arguments {
            predecessor: Some("kopf".into()),
            predecessor_workers: vec![100, 1000],
            predecessor_rounds: 2,
            default_rates,
        }
    }

    #[test]
    fn the_first_rounds_with_some_numbers_of_workers_are_measured() {
        let arguments = arguments(false);
        let measured = |workers, round| arguments.program(workers, round).is_some();
        assert!(measured(100, 1) && measured(1000, 2));
        assert!(!measured(1000, 3) && !measured(5000, 1));
        let without = Arguments {
            predecessor: None,
            ..arguments
        };
        assert_eq!(without.program(100, 1), None);
    }

    #[test]
    fn the_limit_depends_on_the_rates() {
        assert_eq!(arguments(false).aim(100), None);
        assert_eq!(arguments(false).aim(1000), Some(Aim::AtLeast(40.0)));
        assert_eq!(arguments(true).aim(1000), Some(Aim::AtLeast(80.0)));
    }
}
