//! The measured servers, each a separate process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;

use super::load::Target;
use crate::operator::Operator;

/// The policy for OPA.
const POLICY: &str = include_str!("required-limits.rego");

/// A measured server. The process is killed when this is dropped.
pub(crate) struct Server {
    /// Name of the server in the report.
    pub(crate) name: String,
    /// Target of the load.
    pub(crate) target: Target,
    /// ID of the process.
    pub(crate) id: u32,
    process: Process,
}

/// Handle that kills the process when it is dropped.
enum Process {
    Operator(#[expect(dead_code, reason = "the process is killed when this is dropped")] Operator),
    Other(#[expect(dead_code, reason = "the process is killed when this is dropped")] Child),
}

impl Server {
    /// Starts the operator with a number of policies and the certificate in the folder, and waits until it is ready.
    pub(crate) async fn operator(
        binary: &Path,
        policies: &[&Path],
        tls: &TlsConnector,
        folder: &Path,
    ) -> Result<Self> {
        let target = Target {
            address: free_address().await?,
            tls: tls.clone(),
            path: None,
            echoes_uid: true,
        };
        let (address, folder_name) = (target.address.to_string(), folder.display().to_string());
        let mut all = vec![
            "--webhook",
            &address,
            "--webhook-certificate-folder",
            &folder_name,
        ];
        let policy = |file: &&Path| format!("--policy={}", file.display());
        let policy_arguments: Vec<String> = policies.iter().map(policy).collect();
        all.extend(policy_arguments.iter().map(String::as_str));
        let mut operator = Operator::spawn(binary, &folder.join("cache"), &all, None).await?;
        // Until it is ready, the operator refuses all requests, because it does not know yet which plugins are active.
        operator.wait_until_ready().await?;
        Ok(Self {
            name: match policies.len() {
                0 => "operator".to_owned(),
                1 => "operator, 1 policy".to_owned(),
                count => format!("operator, {count} policies"),
            },
            target,
            id: operator.id()?,
            process: Process::Operator(operator),
        })
    }

    /// Returns whether the server is the operator.
    pub(crate) fn is_operator(&self) -> bool {
        matches!(self.process, Process::Operator(_))
    }

    /// Starts the baseline, which is part of this program.
    pub(crate) async fn bare(tls: &TlsConnector, folder: &Path) -> Result<Self> {
        let address = free_address().await?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", "--address", &address.to_string(), "--folder"]);
        command.arg(folder);
        let target = Target {
            address,
            tls: tls.clone(),
            path: None,
            echoes_uid: false,
        };
        Self::start("bare TLS server", command, target).await
    }

    /// Starts the Open Policy Agent.
    pub(crate) async fn opa(program: &Path, tls: &TlsConnector, folder: &Path) -> Result<Self> {
        let address = free_address().await?;
        let policy = folder.join("required-limits.rego");
        std::fs::write(&policy, POLICY)?;
        let mut command = Command::new(program);
        command.args(["run", "--server", "--skip-version-check", "--log-level", "error"]);
        command.args(["--addr", &address.to_string()]);
        command.arg("--tls-cert-file").arg(folder.join("tls.crt"));
        command.arg("--tls-private-key-file").arg(folder.join("tls.key"));
        command.arg(policy);
        let target = Target {
            address,
            tls: tls.clone(),
            path: Some("/"),
            echoes_uid: true,
        };
        Self::start("OPA, the policy alone", command, target).await
    }

    async fn start(name: &'static str, mut command: Command, target: Target) -> Result<Self> {
        let process = command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting the {name}"))?;
        let id = process.id().with_context(|| format!("the {name} has ended"))?;
        let start = Instant::now();
        while TcpStream::connect(target.address).await.is_err() {
            ensure!(
                start.elapsed() < Duration::from_secs(10),
                "the {name} does not listen at {}",
                target.address
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self {
            name: name.to_owned(),
            target,
            id,
            process: Process::Other(process),
        })
    }
}

/// Returns a loopback address with a free port.
async fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}
