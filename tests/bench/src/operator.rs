//! The operator as a child process: starts and stops it, and reads its metrics and its memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::folders;
use crate::process::{Memory, Program, processor_time};

/// Maximum time until the operator no longer writes, although nothing changes.
const QUIET_LIMIT: Duration = Duration::from_secs(300);

/// A running operator. The process is killed when this is dropped.
pub(crate) struct Operator {
    program: Program,
    address: String,
    started: Instant,
    ready_after: Duration,
}

impl Operator {
    /// Starts the operator and waits until it reports that it is ready.
    pub(crate) async fn start(binary: &Path, cache: &Path, concurrency: usize) -> Result<Self> {
        let concurrency = concurrency.to_string();
        let arguments = ["--writes-in-flight", &concurrency];
        let mut operator = Self::spawn(binary, cache, &arguments, None).await?;
        operator.wait_until_ready().await?;
        Ok(operator)
    }

    /// Starts the operator with additional arguments, without waiting until it is ready. Without a `kubeconfig`, it uses that
    /// of the benchmark.
    pub(crate) async fn spawn(
        binary: &Path,
        cache: &Path,
        arguments: &[&str],
        kubeconfig: Option<&Path>,
    ) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
        let started = Instant::now();
        let program = Program::start(
            "the operator",
            Command::new(binary)
                .args(["run", "--bind", &address])
                .args(arguments)
                .arg("--cache-dir")
                .arg(cache)
                .envs(kubeconfig.map(|file| ("KUBECONFIG", file))),
        )?;
        Ok(Self {
            program,
            address,
            started,
            ready_after: Duration::ZERO,
        })
    }

    /// Waits until the operator reports that it is ready.
    pub(crate) async fn wait_until_ready(&mut self) -> Result<()> {
        let ready = async || get(&self.address, "/readyz").await.is_ok();
        self.program.until("ready", ready).await?;
        self.ready_after = self.started.elapsed();
        Ok(())
    }

    /// Returns an error with the end of the log if the process has ended.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        self.program.ensure_running()
    }

    /// Returns the time from the start of the process until it was ready. Zero if nothing has waited for that.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> Result<u32> {
        self.program.id()
    }

    /// Returns the current and the peak memory of the process.
    pub(crate) fn memory(&self) -> Result<Memory> {
        Memory::of(self.id()?)
    }

    /// Returns the processor time of the process.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        processor_time(self.id()?)
    }

    async fn metrics(&self) -> Result<String> {
        get(&self.address, "/metrics").await
    }

    /// Returns the requests to the API server since the operator started.
    pub(crate) async fn requests(&self) -> Result<Requests> {
        Ok(Requests::of(&self.metrics().await?))
    }

    /// Returns the value of a metric without labels. `None` if it is missing.
    pub(crate) async fn gauge(&self, name: &str) -> Result<Option<f64>> {
        Ok(gauge(&self.metrics().await?, name))
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
                start.elapsed() < QUIET_LIMIT,
                "the operator did not stop writing within {} s",
                QUIET_LIMIT.as_secs()
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
    pub(crate) async fn stop(self) -> Result<()> {
        self.program.stop().await
    }

    /// Sends a signal to the process and waits until it has ended.
    pub(crate) async fn end(self, signal: Signal) -> Result<()> {
        self.program.end(signal).await
    }

    /// Returns the end of the log.
    pub(crate) fn last_lines(&self) -> String {
        self.program.last_lines()
    }
}

/// Numbers of requests by verb, resource and status code.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Requests(BTreeMap<[String; 3], f64>);

impl Requests {
    /// Returns the requests in the operator's metrics.
    fn of(metrics: &str) -> Self {
        let mut requests = Self::default();
        for (labels, value) in samples(metrics, "dask_operator_api_requests_total") {
            let key = ["verb", "resource", "code"].map(|name| label(&labels, name).to_owned());
            *requests.0.entry(key).or_default() += value;
        }
        requests
    }

    /// Adds other requests.
    pub(crate) fn add(&mut self, other: &Self) {
        for (key, value) in &other.0 {
            *self.0.entry(key.clone()).or_default() += value;
        }
    }

    /// Returns the requests that were sent after `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let difference = |(key, value): (&[String; 3], &f64)| {
            let increase = value - before.0.get(key).unwrap_or(&0.0);
            (increase > 0.0).then(|| (key.clone(), increase))
        };
        Self(self.0.iter().filter_map(difference).collect())
    }

    /// Returns the number of all requests.
    pub(crate) fn total(&self) -> f64 {
        self.0.values().sum()
    }

    /// Returns the number of requests that write.
    pub(crate) fn writes(&self) -> u64 {
        let reads = ["get", "list", "watch"];
        let writes = self
            .0
            .iter()
            .filter(|([verb, ..], _)| !reads.contains(&verb.as_str()));
        writes.map(|(_, value)| *value as u64).sum()
    }

    /// Returns the number of requests that write this resource, such as `daskclusters/status`, and that succeeded.
    pub(crate) fn successful_writes(&self, resource: &str) -> usize {
        let reads = ["get", "list", "watch"];
        let matching = self.0.iter().filter(|([verb, of, code], _)| {
            !reads.contains(&verb.as_str()) && of == resource && code.starts_with('2')
        });
        matching.map(|(_, value)| *value as usize).sum()
    }

    /// Returns the numbers of requests by verb.
    pub(crate) fn by_verb(&self) -> BTreeMap<&str, f64> {
        let mut by_verb = BTreeMap::new();
        for ([verb, ..], value) in &self.0 {
            *by_verb.entry(verb.as_str()).or_default() += value;
        }
        by_verb
    }
}

impl std::fmt::Display for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|(key, value)| format!("{}: {value}", key.join(" ")))
            .collect();
        f.write_str(&parts.join(", "))
    }
}

/// Returns a new folder for the cache of the operator, which already contains its components.
pub(crate) async fn cache(binary: &Path) -> Result<tempfile::TempDir> {
    let cache = empty_cache(binary)?;
    warm_up(binary, cache.path()).await?;
    Ok(cache)
}

/// Returns a new folder for the cache of the operator. An error if the operator does not exist.
pub(crate) fn empty_cache(binary: &Path) -> Result<tempfile::TempDir> {
    ensure!(
        binary.exists(),
        "{} does not exist: build it with `cargo build --release`, or name another with --operator",
        binary.display()
    );
    folders::private()
}

/// Compiles the components into the cache, so that the time is not part of a round.
async fn warm_up(binary: &Path, cache: &Path) -> Result<()> {
    Operator::start(binary, cache, 1).await?.stop().await
}

/// Returns the objects that the operator would create for `manifest`, without owners. Owners come before what they own.
pub(crate) fn render(binary: &Path, manifest: &Value) -> Result<Vec<Value>> {
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    fs::write(file.path(), manifest.to_string())?;
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
    let mut rendered: Value = serde_json::from_slice(&output.stdout).context("render did not print JSON")?;
    let items = rendered["items"]
        .as_array_mut()
        .context("render printed no list")?;
    for item in items.iter_mut() {
        if let Some(metadata) = item["metadata"].as_object_mut() {
            metadata.remove("ownerReferences"); // the owner does not exist in the namespace of the bare client
        }
    }
    Ok(std::mem::take(items))
}

/// Returns the first worker pod that the operator would create for `manifest`.
pub(crate) fn render_worker(binary: &Path, manifest: &Value) -> Result<Value> {
    let mut one = manifest.clone();
    one["spec"]["worker"]["replicas"] = 1.into();
    let is_worker = |object: &Value| {
        object["kind"] == "Pod" && object["metadata"]["labels"]["dask.org/component"] == "worker"
    };
    let mut items = render(binary, &one)?.into_iter();
    items.find(is_worker).context("render printed no worker pod")
}

/// Sends an HTTP GET request on the loopback interface and returns the body. An error if the status is not 200.
pub(crate) async fn get(address: &str, path: &str) -> Result<String> {
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

/// Returns the value of a metric without labels in the Prometheus text format.
fn gauge(metrics: &str, name: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    metrics.lines().find_map(value)
}

/// Returns the value of a label. Empty if the label is missing.
fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let mut rest = labels.split(',').filter_map(|pair| pair.split_once('='));
    rest.find(|(key, _)| *key == name)
        .map_or("", |(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"
dask_operator_api_requests_total{verb="list",resource="pods",code="200"} 2
dask_operator_api_requests_total{verb="apply",resource="daskclusters/status",code="200"} 3
dask_operator_api_requests_total{verb="apply",resource="daskclusters/status",code="409"} 1
dask_operator_leader 1
dask_operator_queue_longest_wait_seconds 0.25
"#;

    #[test]
    fn requests_are_counted() {
        let mut requests = Requests::of(METRICS);
        assert_eq!((requests.total(), requests.writes()), (6.0, 4));
        assert_eq!(requests.successful_writes("daskclusters/status"), 3);
        assert_eq!(
            requests.by_verb(),
            BTreeMap::from([("apply", 4.0), ("list", 2.0)])
        );
        let before = requests.clone();
        requests.add(&before);
        assert_eq!(requests.since(&before), before);
    }

    #[test]
    fn gauges_have_no_labels() {
        assert_eq!(gauge(METRICS, "dask_operator_leader"), Some(1.0));
        assert_eq!(
            gauge(METRICS, "dask_operator_queue_longest_wait_seconds"),
            Some(0.25)
        );
        assert_eq!(gauge(METRICS, "dask_operator_queue"), None);
    }
}
