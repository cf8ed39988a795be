//! Leader election with a `coordination.k8s.io/v1` Lease, as in the controllers of Kubernetes
//! itself: at most one of several replicas holds the lease.
//!
//! The leader renews the lease, and the senders of the reconcile's writes and events check [`Leadership`]. A leader that can't
//! renew the lease stops writing well before another replica may take it.
//!
//! The election is hand-written for two reasons:
//!
//! * It does not depend on clock skew. A replica takes a lease that it has seen unchanged for the lease's duration by its own
//!   monotonic clock ([`record`]). `kube-leader-election` and `kube-lease-manager` compare the wall clock with the time that the
//!   holder wrote; the latter tolerates a fixed skew. Both support only earlier versions of kube than the operator uses.
//! * Each of these writes is gated. The end of the leadership is a time ([`leadership`]) that is checked before each request: a
//!   process whose renewal hangs, or that was suspended, sends no further request. A loop that reports a change of the
//!   leadership would report it too late.

pub(crate) mod leadership;
pub(crate) mod metrics;
pub(crate) mod record;

use std::time::Duration;

use clap::Args;
use dask_operator_core::text::innermost;
use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::{Mutex, MutexGuard};
use thiserror::Error;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use self::record::{LeaseAction, LeaseObserver, Timing, claimed, holder, released};
use crate::leader_election::leadership::Leadership;
use crate::log_limit::LogLimit;

/// Minimum interval between two warnings that the lease can't be acquired.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Timeout for releasing the lease on shutdown.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Command-line arguments for leader election.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Replicas")]
pub(crate) struct LeaseArgs {
    /// Write only while this process holds the named Lease, so that several replicas can
    /// run: one leads, the others stand by. [default: no lease, for a single replica]
    #[arg(long = "lease", value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Namespace of the Lease. [default: that of the pod or of the kubeconfig]
    #[arg(long = "lease-namespace", value_name = "NAMESPACE", requires = "name")]
    pub(crate) namespace: Option<String>,

    /// Seconds without a renewal after which another replica takes the lease. A leader
    /// that fails to renew it for 7/10 of this time exits.
    #[arg(long = "lease-seconds", value_name = "SECONDS", default_value_t = 10, requires = "name",
          value_parser = clap::value_parser!(u16).range(3..=300))]
    pub(crate) seconds: u16,

    /// Identity of this replica in the Lease. [default: host name and process ID]
    #[arg(long = "lease-identity", value_name = "NAME", env = "POD_NAME")]
    pub(crate) identity: Option<String>,
}

/// The reason why this replica lost the lease.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum LeadershipLost {
    /// The lease could not be renewed in time.
    #[error(
        "the lease {name} could not be renewed for {seconds} s ({why}): ends, so that another operator can lead"
    )]
    TooLate {
        /// Name of the lease.
        name: String,
        /// Seconds since the last renewal.
        seconds: u64,
        /// The last error.
        why: String,
    },
    /// Another replica holds the lease.
    #[error("the lease {name} was taken by {by}: ends, so that only one operator leads")]
    Taken {
        /// Name of the lease.
        name: String,
        /// Identity of the new holder.
        by: String,
    },
}

/// Error of an attempt to acquire or renew the lease.
#[derive(Debug, Error)]
enum RenewError {
    #[error("it was taken by {0}")]
    Taken(String),
    #[error("the API server did not answer")]
    NoAnswer,
    #[error("{}", innermost(.0))]
    Request(#[from] kube::Error),
}

/// A lease together with its state in this process.
#[derive(Debug)]
pub(crate) struct Lease {
    api: Api<Object>,
    name: String,
    identity: String,
    timing: Timing,
    leadership: Leadership,
    /// The object as this process last wrote it, and when that request was sent. `None` while
    /// the lease is not held.
    held: Mutex<Option<(Object, Instant)>>,
}

impl Lease {
    /// Creates the lease that the command line names. Returns `None` if it names none.
    ///
    /// `leadership` is updated when the lease is acquired, renewed, lost or released. No request is sent yet.
    #[must_use]
    pub(crate) fn new(args: &LeaseArgs, client: &Client, leadership: Leadership) -> Option<Self> {
        let name = args.name.clone()?;
        let namespace = args
            .namespace
            .as_deref()
            .unwrap_or_else(|| client.default_namespace());
        Some(Self {
            api: Api::namespaced(client.clone(), namespace),
            name,
            identity: args.identity.clone().unwrap_or_else(default_identity),
            timing: Timing {
                duration: Duration::from_secs(args.seconds.into()),
            },
            leadership,
            held: Mutex::default(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Option<(Object, Instant)>> {
        self.held.lock()
    }

    /// Records that this process wrote `lease` with a request sent at `start`.
    fn record_held(&self, lease: Object, start: Instant) {
        *self.held() = Some((lease, start));
        self.leadership.until(start + self.timing.deadline());
    }

    /// Waits without a time limit until this process holds the lease. From then on it must be
    /// renewed with [`Lease::keep`].
    pub(crate) async fn acquire(&self) {
        let mut observer = LeaseObserver::default();
        let mut log_limit = LogLimit::new(WARN_INTERVAL);
        info!(
            lease = self.name,
            identity = self.identity,
            "waiting for the lease"
        );
        loop {
            let attempt = timeout_at(Instant::now() + self.timing.renew(), self.attempt(&mut observer));
            let wait = match attempt.await.unwrap_or(Err(RenewError::NoAnswer)) {
                Ok(LeaseAction::Wait(wait)) => wait,
                Ok(LeaseAction::Create | LeaseAction::Take) => {
                    info!(lease = self.name, identity = self.identity, "became the leader");
                    return;
                }
                Err(error) => {
                    if log_limit.allows(Instant::now()) {
                        warn!("failed to acquire the lease {}: {error}; retrying", self.name);
                    }
                    self.timing.retry()
                }
            };
            sleep(wait).await;
        }
    }

    /// Reads the lease, and takes it if this process may.
    async fn attempt(&self, observer: &mut LeaseObserver) -> Result<LeaseAction, RenewError> {
        let found = self.api.get_opt(&self.name).await?;
        let start = Instant::now();
        let action = observer.next_action(found.as_ref(), &self.identity, self.timing, start);
        match action {
            LeaseAction::Wait(_) => return Ok(action),
            LeaseAction::Create | LeaseAction::Take => {}
        }
        match self.write(found.as_ref()).await {
            Ok(lease) => {
                self.record_held(lease, start);
                Ok(action)
            }
            // Another replica wrote the lease first.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(LeaseAction::Wait(self.timing.retry())),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates the lease, or replaces the version `before`.
    async fn write(&self, before: Option<&Object>) -> kube::Result<Object> {
        let lease = claimed(before, &self.name, &self.identity, self.timing, Timestamp::now());
        let parameters = PostParams::default();
        match before {
            None => self.api.create(&parameters, &lease).await,
            Some(_) => self.api.replace(&self.name, &parameters, &lease).await,
        }
    }

    /// Renews the lease until that fails for too long or another replica holds it. Then sets
    /// [`Leadership`] to not leading and returns the reason.
    pub(crate) async fn keep(&self) -> LeadershipLost {
        loop {
            let renewed = self
                .held()
                .as_ref()
                .map_or_else(Instant::now, |(_, start)| *start);
            sleep_until(renewed + self.timing.renew()).await;
            let Err(error) = self.renew_before(renewed + self.timing.deadline()).await else {
                continue;
            };
            self.leadership.end();
            *self.held() = None;
            let name = self.name.clone();
            return match error {
                RenewError::Taken(by) => LeadershipLost::Taken { name, by },
                error => LeadershipLost::TooLate {
                    name,
                    seconds: renewed.elapsed().as_secs(),
                    why: error.to_string(),
                },
            };
        }
    }

    /// Renews the lease, with retries until `deadline`.
    async fn renew_before(&self, deadline: Instant) -> Result<(), RenewError> {
        loop {
            let limit = deadline.min(Instant::now() + self.timing.renew());
            let error = match timeout_at(limit, self.renew()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error @ RenewError::Taken(_))) => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => RenewError::NoAnswer,
            };
            debug!(lease = self.name, "failed to renew the lease: {error}");
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
                self.record_held(lease, start);
                return Ok(());
            }
            Err(error) => error,
        };
        // A request that got no response may have been carried out, and a user may have labelled
        // or deleted the lease.
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
        self.record_held(lease, start);
        Ok(())
    }

    /// Releases the lease, so that other replicas need not wait until it expires. The caller
    /// must have ended all writes.
    pub(crate) async fn release(&self) {
        self.leadership.end();
        let Some((lease, _)) = self.held().take() else {
            return;
        };
        let lease = released(&lease, Timestamp::now());
        let parameters = PostParams::default();
        let released = self.api.replace(&self.name, &parameters, &lease);
        match tokio::time::timeout(RELEASE_TIMEOUT, released).await {
            Ok(Ok(_)) => info!(lease = self.name, "released the lease"),
            Ok(Err(error)) => debug!("failed to release the lease: {error}"),
            Err(_) => debug!("failed to release the lease: no response"),
        }
    }
}

/// Returns the host name and process ID, as `HOST_PID`.
fn default_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "dask-operator",
        host => host,
    };
    format!("{host}_{}", std::process::id())
}

#[cfg(test)]
mod tests;
