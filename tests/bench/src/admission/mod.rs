//! Benchmark of the latency of the webhook.
//!
//! The same open-loop [`load`] is sent to several [`servers`] in turn: the operator, and the baseline ([`bare`]), which shows
//! the cost of TLS, HTTP and this machine without any decision. Requests have the form in which an API server sends them
//! ([`body`]), each about an object of its own.

mod bare;
mod body;
mod certificate;
mod load;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

pub(crate) use bare::{Bare, THREADS};

use body::{Review, Step};
use load::{Load, Target};
use servers::Server;

use crate::process;
use crate::results::{Aim, Output, Table, Unit};

/// Duration of the load before a measurement starts.
const WARM_UP: Duration = Duration::from_millis(500);

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Admission {
    /// Requests per second.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Duration of each measurement, in seconds.
    #[arg(long, default_value_t = 5.0)]
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
    /// Policy that the operator also calls, in the form of its option `--policy`. Can be repeated.
    #[arg(long)]
    policy: Vec<String>,
    /// Executable of the Open Policy Agent, which is then measured as well. It validates that workers have memory limits, as
    /// `plugins/examples/required-limits` does.
    #[arg(long)]
    opa: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Admission {
    /// Runs the benchmark and prints the results.
    pub(crate) async fn run(self) -> Result<()> {
        ensure!(
            self.operator.exists(),
            "{} does not exist: build it with `cargo build --release`, or name another with --operator",
            self.operator.display()
        );
        // Private regardless of the umask, because the operator executes the code in this folder.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let folder = tempfile::Builder::new().permissions(private).tempdir()?;
        let folder = folder.path();
        let tls = certificate::make(folder)?;
        let policies: Vec<String> = self
            .policy
            .iter()
            .map(|policy| format!("--policy={policy}"))
            .collect();
        let operator = Server::operator(&self.operator, &policies, &tls, folder).await?;
        let (reviews, scaling) = self.reviews(&operator.target, folder).await?;
        let mut servers = vec![operator, Server::bare(&tls, folder).await?];
        if let Some(program) = &self.opa {
            servers.push(Server::opa(program, &tls, folder).await?);
        }

        let mut table = Table::new(
            "admission",
            format!(
                "admission: {:.0} requests a second of {} and {} bytes, {} connections, for {} s",
                self.rate,
                reviews[0].1.len(),
                reviews[1].1.len(),
                self.connections,
                self.seconds
            ),
        );
        // OPA only validates.
        let (both, all) = (&servers[..2], &servers[..]);
        // The operator validates a creation with dry runs by the API server, but not a change of the number of workers alone.
        let scaling = [(Step::Validate, scaling)];
        for (title, steps, servers) in [
            ("mutate", &reviews[..1], both),
            ("validate, with dry runs by the API server", &reviews[1..], all),
            ("validate, without (only replicas change)", &scaling, both),
            ("mutate and validate in turn", &reviews[..], both),
        ] {
            for _ in 0..self.rounds {
                for server in servers {
                    self.measure(server, title, steps, &mut table).await?;
                }
            }
        }
        self.output.table(&table)
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

    /// Adds one measurement of a server to the table.
    async fn measure(
        &self,
        server: &Server,
        title: &str,
        steps: &[(Step, Review)],
        table: &mut Table,
    ) -> Result<()> {
        let load = Load {
            rate: self.rate,
            duration: WARM_UP,
            connections: self.connections,
        };
        load::run(&server.target, steps, load).await?;
        let before = process::processor_time(server.id)?;
        let duration = Duration::from_secs_f64(self.seconds);
        let measured = load::run(&server.target, steps, Load { duration, ..load }).await?;
        let used = process::processor_time(server.id)?.saturating_sub(before);
        ensure!(measured.count() > 0, "no request in {} s", self.seconds);
        let label = |what: &str| format!("{title}: {}, {what}", server.name);
        // A server that answers at a lower rate does not keep up.
        let aim = Aim::AtLeast(0.99 * self.rate);
        table.add_with_aim(&label("answers"), Unit::PerSecond, measured.rate(), aim);
        let mut add = |what: &str, unit, value| table.add(&label(what), unit, value);
        add("median", Unit::Seconds, measured.quantile(0.5).as_secs_f64());
        add("p99", Unit::Seconds, measured.quantile(0.99).as_secs_f64());
        add("longest", Unit::Seconds, measured.quantile(1.0).as_secs_f64());
        add(
            "processor time of one",
            Unit::Seconds,
            used.as_secs_f64() / measured.count() as f64,
        );
        Ok(())
    }
}
