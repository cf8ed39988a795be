//! Two operators with leader election.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::operator::Operator;

/// Maximum time from the end of a leader until another one leads.
pub(crate) const TAKEOVER_LIMIT: Duration = Duration::from_secs(60);

/// Two operators, at most one of which leads.
pub(crate) struct Replicas<'a> {
    binary: &'a Path,
    cache: &'a Path,
    /// Namespace of the lease.
    namespace: &'a str,
    concurrency: String,
    running: Vec<Operator>,
    /// Number of operators that were started, for their identities.
    started: usize,
}

impl<'a> Replicas<'a> {
    /// Starts two operators with a lease in `namespace`, and waits until one of them leads.
    pub(crate) async fn start(
        binary: &'a Path,
        cache: &'a Path,
        namespace: &'a str,
        concurrency: usize,
    ) -> Result<Self> {
        let mut replicas = Self {
            binary,
            cache,
            namespace,
            concurrency: concurrency.to_string(),
            running: Vec::new(),
            started: 0,
        };
        for _ in 0..2 {
            replicas.add().await?;
        }
        replicas.wait_for_leader().await?;
        Ok(replicas)
    }

    /// Starts an operator.
    pub(crate) async fn add(&mut self) -> Result<()> {
        self.started += 1;
        let identity = format!("operator-{}", self.started);
        let arguments = [
            "--lease=bench",
            "--lease-namespace",
            self.namespace,
            "--lease-identity",
            &identity,
            "--writes-in-flight",
            &self.concurrency,
        ];
        let operator = Operator::spawn(self.binary, self.cache, &arguments, None).await?;
        self.running.push(operator);
        Ok(())
    }

    /// Waits until all operators are ready.
    pub(crate) async fn wait_until_ready(&mut self) -> Result<()> {
        for operator in &mut self.running {
            operator.wait_until_ready().await?;
        }
        Ok(())
    }

    /// Waits until an operator leads. Returns its index in [`Self::running`].
    pub(crate) async fn wait_for_leader(&mut self) -> Result<usize> {
        let start = Instant::now();
        loop {
            if let Some(at) = self.leader().await? {
                return Ok(at);
            }
            ensure!(
                start.elapsed() < TAKEOVER_LIMIT,
                "no operator leads after {} s:\n{}",
                TAKEOVER_LIMIT.as_secs(),
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Returns the index of the operator that leads. An operator that was just started does not answer yet.
    pub(crate) async fn leader(&mut self) -> Result<Option<usize>> {
        for (at, operator) in self.running.iter_mut().enumerate() {
            operator.ensure_running()?;
            let leads = operator.gauge("dask_operator_leader").await;
            if leads.is_ok_and(|leads| leads == Some(1.0)) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Removes and returns the operator that leads, which continues to run. `None` if none leads.
    pub(crate) async fn take_leader(&mut self) -> Result<Option<Operator>> {
        let leader = self.leader().await?;
        Ok(leader.map(|at| self.running.remove(at)))
    }

    /// Returns the operators.
    pub(crate) fn running(&self) -> &[Operator] {
        &self.running
    }

    /// Returns the operators, whose processes end when they are dropped.
    pub(crate) fn into_running(self) -> Vec<Operator> {
        self.running
    }

    /// Returns the ends of the logs of all operators.
    pub(crate) fn logs(&self) -> String {
        let logs: Vec<_> = self.running.iter().map(Operator::last_lines).collect();
        logs.join("\n\n")
    }
}
