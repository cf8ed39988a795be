//! Benchmark of the latency of the webhook.
//!
//! The same open-loop [`load`] is sent to several [`servers`] in turn: the operator with different numbers of policies, and the
//! baseline ([`bare`]), which shows the cost of TLS, HTTP and this machine without any decision. All servers run on one processor,
//! and the client on another one if there are two. The API server, which the operator asks for dry runs, uses both. Requests have
//! the form in which an API server sends them ([`body`]), each about an object of its own.

mod bare;
mod body;
mod certificate;
mod load;
mod processors;
mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{ArgAction, Args};
use serde_json::Value;

pub(crate) use bare::{Bare, THREADS};

use body::{Review, Step};
use load::{Load, Target};
use processors::Processors;
use servers::Server;

use crate::chart::{Axis, Chart, Scale};
use crate::results::{Aim, Output, Table, Unit};
use crate::{folders, process};

/// Limit of the 99th percentile of latency, in seconds, and the highest rate for which it is the limit.
const P99: (f64, f64) = (5e-3, 1_000.0);

/// Labels of rows that are compared, without the kind of request and the server.
const ANSWERS: &str = "answers";
const P99_LABEL: &str = "p99";

/// Part of the rate at which a server must answer to keep up.
const KEEPS_UP: f64 = 0.99;

/// Duration of the load before a measurement starts.
const WARM_UP: Duration = Duration::from_millis(500);

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Admission {
    /// Rates in requests per second, in ascending order, each of which is measured.
    #[arg(long, action = ArgAction::Set, value_delimiter = ',', default_value = "100,500,1000,2000")]
    rates: Vec<f64>,
    /// Duration of each measurement, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Number of measurements of each server for each kind of request.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Number of connections, which are kept alive.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Manifest of the object in the requests.
    #[arg(long, default_value = "examples/cluster.yaml")]
    manifest: PathBuf,
    /// Size to which the object is padded with environment variables, in bytes of JSON. 0 adds no padding.
    #[arg(long, default_value_t = 5000)]
    bytes: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    /// Numbers of policies that the operator calls, each of which is measured.
    #[arg(long, action = ArgAction::Set, value_delimiter = ',', default_value = "0,1,5")]
    policies: Vec<usize>,
    /// Component of the policy, the example `required-limits`.
    #[arg(long, default_value = "target/plugins/required-limits.wasm")]
    policy: PathBuf,
    /// Executable of the Open Policy Agent, which is then measured as well. It validates that workers have memory limits, as
    /// `plugins/examples/required-limits` does.
    #[arg(long)]
    opa: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Kind of requests.
struct Kind<'a> {
    title: &'static str,
    /// Name of the chart.
    name: &'static str,
    steps: &'a [(Step, Review)],
    servers: &'a [Server],
}

impl Admission {
    /// Runs the benchmark, prints the tables and stores the charts.
    pub(crate) async fn run(self) -> Result<()> {
        ensure!(
            self.operator.exists(),
            "{} does not exist: build it with `cargo build --release`, or name another with --operator",
            self.operator.display()
        );
        ensure!(
            self.policy.exists(),
            "{} does not exist: build it with `make plugins`, or name it with --policy",
            self.policy.display()
        );
        let folder = folders::private()?;
        let folder = folder.path();
        let tls = certificate::make(folder)?;
        let processors = Processors::of_this_thread()?;
        processors.first().apply()?;
        let mut servers = Vec::new();
        for &count in &self.policies {
            let policies = vec![self.policy.as_path(); count];
            servers.push(Server::operator(&self.operator, &policies, &tls, folder).await?);
        }
        let operator = servers.first().context("--policies names no number")?;
        let (reviews, scaling) = self.reviews(&operator.target, folder).await?;
        // Sends the operator's answers, which are in the folder now.
        servers.push(Server::bare(&tls, folder).await?);
        // OPA only validates.
        let both = servers.len();
        if let Some(program) = &self.opa {
            servers.push(Server::opa(program, &tls, folder).await?);
        }
        processors.last().apply()?;

        // The operator validates a creation with dry runs by the API server, but not a change of the number of workers alone.
        let scaling = [(Step::Validate, scaling)];
        let kind = |title, name, steps, servers| Kind {
            title,
            name,
            steps,
            servers,
        };
        let kinds = [
            kind("mutate", "mutate", &reviews[..1], &servers[..both]),
            kind(
                "validate, with dry runs by the API server",
                "validate",
                &reviews[1..],
                &servers[..],
            ),
            kind(
                "validate, without (only replicas change)",
                "scale",
                &scaling,
                &servers[..both],
            ),
        ];
        let mut lines = BTreeMap::new();
        for &rate in &self.rates {
            let title = format!(
                "admission: {rate:.0} requests a second of {} and {} bytes, {} connections, server on one processor",
                reviews[0].1.len(),
                reviews[1].1.len(),
                self.connections,
            );
            let mut table = Table::new(format!("admission-{rate:.0}"), title);
            for kind in &kinds {
                self.measure_kind(kind, rate, &mut table, &mut lines).await?;
            }
            self.output.table(&table)?;
        }
        for kind in &kinds {
            let points = |server: &Server| {
                Some((
                    server.name.clone(),
                    lines.remove(&(kind.name, server.name.clone()))?,
                ))
            };
            self.output.chart(
                &format!("admission-{}", kind.name),
                &Chart {
                    title: format!("99th percentile of latency: {}", kind.title),
                    x: Axis::new("requests per second", Scale::Logarithmic),
                    y: Axis::new("seconds", Scale::Logarithmic),
                    lines: kind.servers.iter().filter_map(points).collect(),
                },
            )?;
        }
        Ok(())
    }

    /// Measures all rounds of one kind of requests at one rate. Adds the 99th percentile to the points of the lines, which have
    /// the names of the kind and of the server as their key. A server that does not keep up has no point at this rate, and is not
    /// measured at higher ones.
    async fn measure_kind(
        &self,
        kind: &Kind<'_>,
        rate: f64,
        table: &mut Table,
        lines: &mut BTreeMap<(&'static str, String), Vec<(f64, f64)>>,
    ) -> Result<()> {
        let label = |server: &Server, what: &str| format!("{}: {}, {what}", kind.title, server.name);
        let key = |server: &Server| (kind.name, server.name.clone());
        let lower_rates = self.rates.iter().take_while(|lower| **lower < rate).count();
        let keep_up: Vec<_> = kind
            .servers
            .iter()
            .filter(|server| lines.get(&key(server)).map_or(0, Vec::len) == lower_rates)
            .collect();
        for _ in 0..self.rounds {
            for server in &keep_up {
                self.measure(server, kind.steps, rate, table, |what| label(server, what))
                    .await?;
            }
        }
        for server in keep_up {
            let answers = table.median(&label(server, ANSWERS)).unwrap_or_default();
            if let Some(p99) = table.median(&label(server, P99_LABEL))
                && answers >= KEEPS_UP * rate
            {
                lines.entry(key(server)).or_default().push((rate, p99));
            }
        }
        Ok(())
    }

    /// Returns the review of each step for a new object, and the review of its scaling. Writes the operator's answers about the
    /// new object to files for the bare server.
    async fn reviews(&self, operator: &Target, folder: &Path) -> Result<(Vec<(Step, Review)>, Review)> {
        let manifest = fs::read_to_string(&self.manifest)
            .with_context(|| format!("reading {}", self.manifest.display()))?;
        let manifest: Value = serde_saphyr::from_str(&manifest)
            .with_context(|| format!("{} does not have a single manifest", self.manifest.display()))?;
        let mut object = body::applied(&manifest, self.bytes)?;
        let mut reviews = Vec::new();
        for step in Step::ALL {
            let review = body::review(&object);
            let answer = load::once(operator, step, &review).await?;
            let read = body::check(&answer, Some(0))?;
            fs::write(folder.join(step.name()).with_extension("json"), &answer)?;
            object = body::mutated(&object, &read)?;
            reviews.push((step, review));
        }
        let scaling = body::scaling(&object);
        body::check(&load::once(operator, Step::Validate, &scaling).await?, Some(0))?;
        Ok((reviews, scaling))
    }

    /// Adds one measurement of a server to the table. `label` returns the labels of its rows.
    async fn measure(
        &self,
        server: &Server,
        steps: &[(Step, Review)],
        rate: f64,
        table: &mut Table,
        label: impl Fn(&str) -> String,
    ) -> Result<()> {
        let load = Load {
            rate,
            duration: WARM_UP,
            connections: self.connections,
        };
        load::run(&server.target, steps, load).await?;
        let times = || -> Result<[Duration; 2]> {
            Ok([
                process::processor_time(server.id)?,
                process::processor_time(std::process::id())?,
            ])
        };
        let before = times()?;
        let duration = Duration::from_secs_f64(self.seconds);
        let measured = load::run(&server.target, steps, Load { duration, ..load }).await?;
        let after = times()?;
        ensure!(measured.count() > 0, "no request in {} s", self.seconds);
        let used = |at: usize| after[at].saturating_sub(before[at]).as_secs_f64() / measured.count() as f64;
        table.add_with_aim(
            &label(ANSWERS),
            Unit::PerSecond,
            measured.rate(),
            Aim::AtLeast(KEEPS_UP * rate),
        );
        let seconds = |part| measured.quantile(part).as_secs_f64();
        table.add(&label("median"), Unit::Seconds, seconds(0.5));
        table.add(&label(P99_LABEL), Unit::Seconds, seconds(0.99));
        if server.is_operator() && rate <= P99.1 {
            table.limit(&label(P99_LABEL), Aim::AtMost(P99.0));
        }
        table.add(&label("processor time of one"), Unit::Seconds, used(0));
        table.add(
            &label("processor time of one in the client"),
            Unit::Seconds,
            used(1),
        );
        Ok(())
    }
}
