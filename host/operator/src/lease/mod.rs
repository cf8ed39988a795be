//! The lease: a `coordination.k8s.io/v1` Lease that one of several operators holds
//! at a time, as the controllers of Kubernetes itself do it.
//!
//! Who holds it renews it, and [`Leading`] says so to everything that writes. Who
//! can't renew it stops writing well before others may take it.

pub mod turn;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use dask_operator_core::text::innermost;
use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use thiserror::Error;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use self::turn::{Seen, Timing, Turn, free, held, holder};
use crate::leading::Leading;

/// How often a lease that can't be had says so.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// How long giving it back may take, at the end.
const RELEASE: Duration = Duration::from_secs(1);

/// What the command line says about it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Replicas")]
pub struct LeaseArgs {
    /// Write only while this Lease is held, so that several operators can run: one
    /// leads, the others stand by. [default: no lease, for a single operator]
    #[arg(long = "lease", value_name = "NAME")]
    pub name: Option<String>,

    /// The Lease's namespace. [default: that of the pod or of the kubeconfig]
    #[arg(long = "lease-namespace", value_name = "NAMESPACE", requires = "name")]
    pub namespace: Option<String>,

    /// After how many seconds without a sign of the leader another one leads. A
    /// leader that can't give that sign for 7/10 of it ends.
    #[arg(long = "lease-seconds", value_name = "SECONDS", default_value_t = 10, requires = "name",
          value_parser = clap::value_parser!(u16).range(3..=300))]
    pub seconds: u16,

    /// Who this operator is in the Lease. [default: host name and process]
    #[arg(long = "lease-identity", value_name = "NAME", env = "POD_NAME")]
    pub identity: Option<String>,
}

/// Why somebody who led leads no more.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Lost {
    /// It could not be renewed in time.
    #[error(
        "the lease {name} could not be renewed for {seconds} s ({why}): ends, so that another operator can lead"
    )]
    TooLate {
        /// The lease's name.
        name: String,
        /// Since when it was to be renewed.
        seconds: u64,
        /// The last error.
        why: String,
    },
    /// Somebody else has it.
    #[error("the lease {name} was taken by {by}: ends, so that only one operator leads")]
    Taken {
        /// The lease's name.
        name: String,
        /// Who has it.
        by: String,
    },
}

/// Why a renewal did not succeed.
#[derive(Debug, Error)]
enum RenewError {
    #[error("it was taken by {0}")]
    Taken(String),
    #[error("the API server did not answer")]
    NoAnswer,
    #[error("{}", innermost(.0))]
    Request(#[from] kube::Error),
}

/// A lease, and what this process knows of it.
#[derive(Debug)]
pub struct Lease {
    api: Api<Object>,
    name: String,
    identity: String,
    timing: Timing,
    leading: Leading,
    /// As it was last written, and when the request for that was sent; none while
    /// it is not held.
    held: Mutex<Option<(Object, Instant)>>,
}

impl Lease {
    /// The lease that the command line names, if any. `leading` is told when it is
    /// held. Nothing is sent yet.
    #[must_use]
    pub fn new(args: &LeaseArgs, client: &Client, leading: Leading) -> Option<Self> {
        let name = args.name.clone()?;
        let namespace = args
            .namespace
            .as_deref()
            .unwrap_or_else(|| client.default_namespace());
        Some(Self {
            api: Api::namespaced(client.clone(), namespace),
            name,
            identity: args.identity.clone().unwrap_or_else(identity),
            timing: Timing {
                duration: Duration::from_secs(args.seconds.into()),
            },
            leading,
            held: Mutex::default(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Option<(Object, Instant)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This lease is held since `start`, when the request for it was sent.
    fn now_held(&self, lease: Object, start: Instant) {
        *self.held() = Some((lease, start));
        self.leading.until(start + self.timing.deadline());
    }

    /// Waits until it is held, however long that takes. From then on it has to be
    /// kept: see [`Lease::keep`].
    pub async fn acquire(&self) {
        let mut seen = Seen::default();
        let mut said: Option<Instant> = None;
        info!(lease = self.name, identity = self.identity, "waits for the lease");
        loop {
            let attempt = timeout_at(Instant::now() + self.timing.renew(), self.attempt(&mut seen));
            let wait = match attempt.await.unwrap_or(Err(RenewError::NoAnswer)) {
                Ok(Turn::Wait(wait)) => wait,
                Ok(Turn::Create | Turn::Take) => {
                    info!(lease = self.name, identity = self.identity, "leads");
                    return;
                }
                Err(error) => {
                    if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                        said = Some(Instant::now());
                        warn!("the lease {} can't be had: {error}; trying again", self.name);
                    }
                    self.timing.retry()
                }
            };
            sleep(wait).await;
        }
    }

    /// Looks whose turn it is, and takes the lease if it is one's own.
    async fn attempt(&self, seen: &mut Seen) -> Result<Turn, RenewError> {
        let found = self.api.get_opt(&self.name).await?;
        let start = Instant::now();
        let turn = seen.turn(found.as_ref(), &self.identity, self.timing, start);
        match turn {
            Turn::Wait(_) => return Ok(turn),
            Turn::Create | Turn::Take => {}
        }
        match self.write(found.as_ref()).await {
            Ok(lease) => {
                self.now_held(lease, start);
                Ok(turn)
            }
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Turn::Wait(self.timing.retry())),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates the lease, or replaces that version of it.
    async fn write(&self, before: Option<&Object>) -> kube::Result<Object> {
        let lease = held(before, &self.name, &self.identity, self.timing, Timestamp::now());
        let parameters = PostParams::default();
        match before {
            None => self.api.create(&parameters, &lease).await,
            Some(_) => self.api.replace(&self.name, &parameters, &lease).await,
        }
    }

    /// Renews it as long as that goes; then [`Leading`] says no, and why it does
    /// not is returned.
    pub async fn keep(&self) -> Lost {
        loop {
            let renewed = self
                .held()
                .as_ref()
                .map_or_else(Instant::now, |(_, start)| *start);
            sleep_until(renewed + self.timing.renew()).await;
            let Err(error) = self.renew_before(renewed + self.timing.deadline()).await else {
                continue;
            };
            self.leading.end();
            *self.held() = None;
            let name = self.name.clone();
            return match error {
                RenewError::Taken(by) => Lost::Taken { name, by },
                error => Lost::TooLate {
                    name,
                    seconds: renewed.elapsed().as_secs(),
                    why: error.to_string(),
                },
            };
        }
    }

    /// Renews it, with as many attempts as there is time for.
    async fn renew_before(&self, deadline: Instant) -> Result<(), RenewError> {
        loop {
            let limit = deadline.min(Instant::now() + self.timing.renew());
            let error = match timeout_at(limit, self.renew()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error @ RenewError::Taken(_))) => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => RenewError::NoAnswer,
            };
            debug!(lease = self.name, "not renewed: {error}");
            sleep_until(deadline.min(Instant::now() + self.timing.retry())).await;
            if Instant::now() >= deadline {
                return Err(error);
            }
        }
    }

    async fn renew(&self) -> Result<(), RenewError> {
        let start = Instant::now();
        let before = self.held().as_ref().map(|(lease, _)| lease.clone());
        let error = match self.write(before.as_ref()).await {
            Ok(lease) => {
                self.now_held(lease, start);
                return Ok(());
            }
            Err(error) => error,
        };
        // A request without an answer may have been carried out, and somebody may
        // have given the lease a label, or deleted it.
        let other_version = matches!(&error, kube::Error::Api(status) if matches!(status.code, 404 | 409));
        if !other_version {
            return Err(error.into());
        }
        let found = self.api.get_opt(&self.name).await?;
        if let Some(other) = found.as_ref().and_then(holder)
            && other != self.identity
        {
            return Err(RenewError::Taken(other.to_owned()));
        }
        let lease = self.write(found.as_ref()).await?;
        self.now_held(lease, start);
        Ok(())
    }

    /// Gives it back, so that others need not wait until it has run out. Whoever
    /// calls this has ended all writes.
    pub async fn release(&self) {
        self.leading.end();
        let Some((lease, _)) = self.held().take() else {
            return;
        };
        let lease = free(&lease, Timestamp::now());
        let parameters = PostParams::default();
        let released = self.api.replace(&self.name, &parameters, &lease);
        match tokio::time::timeout(RELEASE, released).await {
            Ok(Ok(_)) => info!(lease = self.name, "gave the lease back"),
            Ok(Err(error)) => debug!("the lease can't be given back: {error}"),
            Err(_) => debug!("the lease can't be given back: no answer"),
        }
    }
}

/// Host name and process.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "dask-operator",
        host => host,
    };
    format!("{host}_{}", std::process::id())
}

#[cfg(test)]
mod tests;
