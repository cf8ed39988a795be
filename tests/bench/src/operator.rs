//! The operator as a child process: starts and stops it, and reads its metrics and its memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::process::Memory;

/// A running operator. The process is killed when this is dropped.
pub(crate) struct Operator {
    process: Child,
    address: String,
    ready_after: Duration,
    log: tempfile::NamedTempFile,
}

impl Operator {
    /// Starts the operator and waits until it reports that it is ready.
    pub(crate) async fn start(binary: &Path, cache: &Path, concurrency: usize) -> Result<Self> {
        let concurrency = concurrency.to_string();
        let mut operator = Self::spawn(binary, cache, &["--writes-in-flight", &concurrency]).await?;
        let start = Instant::now();
        operator
            .until("ready", async |operator| operator.is_ready().await)
            .await?;
        operator.ready_after = start.elapsed();
        Ok(operator)
    }

    /// Starts the operator with additional arguments, without waiting until it is ready.
    pub(crate) async fn spawn(binary: &Path, cache: &Path, arguments: &[&str]) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
        let log = tempfile::NamedTempFile::new()?;
        let process = Command::new(binary)
            .args(["run", "--bind", &address])
            .args(arguments)
            .arg("--cache-dir")
            .arg(cache)
            .stdout(log.reopen()?)
            .stderr(log.reopen()?)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        Ok(Self {
            process,
            address,
            ready_after: Duration::ZERO,
            log,
        })
    }

    /// Returns whether the operator reports that it is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        get(&self.address, "/readyz").await.is_ok()
    }

    /// Waits until `done` returns true. `what` names the awaited state in the error.
    pub(crate) async fn until(&mut self, what: &str, done: impl AsyncFn(&Self) -> bool) -> Result<()> {
        let start = Instant::now();
        while !done(self).await {
            if let Some(status) = self.process.try_wait()? {
                bail!("the operator ended with {status}:\n{}", self.last_lines());
            }
            if start.elapsed() > Duration::from_secs(60) {
                bail!("the operator was not {what} after 60 s:\n{}", self.last_lines());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Returns the time from the start of the process until it was ready. Zero if [`Self::spawn`] started it.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> Result<u32> {
        self.process.id().context("the operator has ended")
    }

    /// Returns the current and the peak memory of the process.
    pub(crate) fn memory(&self) -> Result<Memory> {
        Memory::of(self.id()?)
    }

    async fn metrics(&self) -> Result<String> {
        get(&self.address, "/metrics").await
    }

    /// Returns the requests to the API server since the operator started.
    pub(crate) async fn requests(&self) -> Result<Requests> {
        let mut by_verb = BTreeMap::new();
        for (labels, value) in samples(&self.metrics().await?, "dask_operator_api_requests_total") {
            *by_verb
                .entry(format!("{} {}", label(&labels, "verb"), label(&labels, "code")))
                .or_default() += value;
        }
        Ok(Requests(by_verb))
    }

    /// Returns the number of plan calls and their total duration in seconds.
    pub(crate) async fn plan_seconds(&self) -> Result<(f64, f64)> {
        let metrics = self.metrics().await?;
        let sum = |name: &str| {
            samples(&metrics, name)
                .iter()
                .filter(|(labels, _)| label(labels, "function") == "plan")
                .map(|(_, value)| value)
                .sum()
        };
        Ok((
            sum("dask_operator_plugin_call_duration_seconds_count"),
            sum("dask_operator_plugin_call_duration_seconds_sum"),
        ))
    }

    /// Waits until the operator has not written to the API server for three seconds.
    pub(crate) async fn wait_until_quiet(&self) -> Result<()> {
        let start = Instant::now();
        let (mut last, mut since) = (self.requests().await?, Instant::now());
        while since.elapsed() < Duration::from_secs(3) {
            ensure!(
                start.elapsed() < Duration::from_secs(120),
                "the operator did not stop writing within 120 s"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = self.requests().await?;
            if now.writes() != last.writes() {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Kills the process and waits until it has ended.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.process.kill().await?;
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = fs::read_to_string(self.log.path()).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Numbers of requests by verb and status code.
#[derive(Clone, Default)]
pub(crate) struct Requests(BTreeMap<String, f64>);

impl Requests {
    /// Returns the requests that were sent after `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let difference = |(key, value): (&String, &f64)| {
            let increase = value - before.0.get(key).unwrap_or(&0.0);
            (increase > 0.0).then(|| (key.clone(), increase))
        };
        Self(self.0.iter().filter_map(difference).collect())
    }

    /// Returns the number of requests that write.
    pub(crate) fn writes(&self) -> u64 {
        let reads = ["get", "list", "watch"];
        let writes = self
            .0
            .iter()
            .filter(|(key, _)| !reads.iter().any(|verb| key.to_lowercase().starts_with(verb)));
        writes.map(|(_, value)| *value as u64).sum()
    }
}

impl std::fmt::Display for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|(key, value)| format!("{key}: {value}"))
            .collect();
        f.write_str(&parts.join(", "))
    }
}

/// Compiles the components into the cache, so that the time is not part of a round.
pub(crate) async fn warm_up(binary: &Path, cache: &Path) -> Result<()> {
    Operator::start(binary, cache, 1).await?.stop().await
}

/// Returns the first worker pod that the operator would create for `manifest`.
pub(crate) fn render_worker(binary: &Path, manifest: &Value) -> Result<Value> {
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    let mut one = manifest.clone();
    one["spec"]["worker"]["replicas"] = 1.into();
    fs::write(file.path(), one.to_string())?;
    let output = std::process::Command::new(binary)
        .args(["render", "-o", "json", "-f"])
        .arg(file.path())
        .output()
        .with_context(|| format!("starting {}", binary.display()))?;
    ensure!(
        output.status.success(),
        "render failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rendered: Value = serde_json::from_slice(&output.stdout).context("render did not print JSON")?;
    let items = rendered["items"].as_array().context("render printed no list")?;
    let is_worker = |object: &&Value| {
        object["kind"] == "Pod" && object["metadata"]["labels"]["dask.org/component"] == "worker"
    };
    let mut pod = items
        .iter()
        .find(is_worker)
        .context("render printed no worker pod")?
        .clone();
    if let Some(metadata) = pod["metadata"].as_object_mut() {
        metadata.remove("ownerReferences"); // the owner does not exist in the namespace of the bare client
    }
    Ok(pod)
}

/// Sends an HTTP GET request on the loopback interface and returns the body. An error if the status is not 200.
async fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a body")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    ensure!(status == "200", "{path} answered {status}");
    Ok(body.to_owned())
}

/// Returns the labels and the value of each sample of a metric in the Prometheus text format.
fn samples(metrics: &str, name: &str) -> Vec<(String, f64)> {
    let sample = |line: &str| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
        Some((labels.to_owned(), value.split_whitespace().next()?.parse().ok()?))
    };
    metrics.lines().filter_map(sample).collect()
}

/// Returns the value of a label. Empty if the label is missing.
fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let mut rest = labels.split(',').filter_map(|pair| pair.split_once('='));
    rest.find(|(key, _)| *key == name)
        .map_or("", |(_, value)| value.trim_matches('"'))
}
