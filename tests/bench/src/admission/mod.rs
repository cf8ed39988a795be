//! How fast the webhook answers.
//!
//! The same [`load`], an open one, goes to several [`servers`] in turn: the operator, and the floor under it ([`bare`]),
//! which is what TLS, HTTP and this machine cost when nothing is decided. Requests are as an API server sends them
//! ([`body`]), each about an object of its own.

mod bare;
mod body;
mod certificate;
mod load;
mod process;
mod report;
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
use report::{Figures, Rows};
use servers::Server;

/// How long a server is asked before it is measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Args)]
pub(crate) struct Admission {
    /// Requests a second.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// How long each turn takes, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often each server has its turn, for each kind of request.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Connections that are kept alive.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// The manifest that requests are about.
    #[arg(long, default_value = "examples/cluster.yaml")]
    manifest: PathBuf,
    /// What it is padded to with environment variables, in bytes of JSON; 0 leaves it as it is.
    #[arg(long, default_value_t = 5000)]
    bytes: usize,
    /// The operator to measure.
    #[arg(long, default_value = "target/release/dask-operator")]
    operator: PathBuf,
    /// A policy that the operator asks, too, as its own option `--policy`.
    #[arg(long)]
    policy: Vec<String>,
    /// The program of the Open Policy Agent, which then validates beside: that workers have limits of memory, as
    /// `plugins/examples/required-limits` does.
    #[arg(long)]
    opa: Option<PathBuf>,
}

impl Admission {
    /// Measures it.
    #[expect(clippy::print_stdout, reason = "this is what the program is for")]
    pub(crate) async fn run(self) -> Result<()> {
        ensure!(
            self.operator.exists(),
            "{} does not exist: build it with `cargo build --release`, or name another with --operator",
            self.operator.display()
        );
        // Private whatever the umask: the operator runs what lies there.
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

        println!(
            "admission: {:.0} requests a second of {} and {} bytes, {} connections, medians of {} rounds of {} s",
            self.rate,
            reviews[0].1.len(),
            reviews[1].1.len(),
            self.connections,
            self.rounds,
            self.seconds
        );
        // OPA only checks.
        let (both, all) = (&servers[..2], &servers[..]);
        // What is created is tried by the API server too; where only a number changes, there is nothing to try.
        let scaling = [(Step::Validate, scaling)];
        for (what, steps, servers) in [
            ("mutate", &reviews[..1], both),
            ("validate, with dry runs by the API server", &reviews[1..], all),
            ("validate, without (only replicas change)", &scaling, both),
            ("mutate and validate in turn", &reviews[..], both),
        ] {
            let mut rows = Rows::new(what, servers.iter().map(|server| server.name));
            for _ in 0..self.rounds {
                for (place, server) in servers.iter().enumerate() {
                    rows.add(place, self.measure(server, steps).await?);
                }
            }
            rows.print();
        }
        Ok(())
    }

    /// The request of each step about a new object, and the one about its scaling. The operator's answers to them are put into
    /// files for the bare server.
    async fn reviews(&self, operator: &Target, folder: &Path) -> Result<(Vec<(Step, Review)>, Review)> {
        let manifest = fs::read_to_string(&self.manifest)
            .with_context(|| format!("reading {}", self.manifest.display()))?;
        let manifest: Value = serde_saphyr::from_str(&manifest)
            .with_context(|| format!("{} is no single manifest", self.manifest.display()))?;
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

    async fn measure(&self, server: &Server, steps: &[(Step, Review)]) -> Result<Figures> {
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
        Ok(Figures {
            rate: measured.rate(),
            median: measured.quantile(0.5),
            p99: measured.quantile(0.99),
            longest: measured.quantile(1.0),
            processor: used.div_f64(measured.count() as f64),
        })
    }
}
