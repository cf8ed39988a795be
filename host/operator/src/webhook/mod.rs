//! Admission webhook, which defaults and validates resources before they are stored.
//!
//! Does I/O in this module, which starts the webhook and asks the API server for the operator's own user, in [`server`], which
//! reads bodies, in [`dry_run`] and in [`tls`]. All other modules are pure, or read the informer cache only.
//!
//! The path of a request: the admission request of an `AdmissionReview` → an [`Outcome`] → the admission response.
//!
//! 1. [`server`] reads the request, with limits for its size and time, and for the memory of all bodies ([`body_memory`]).
//! 2. [`handler`] processes it on the threads of the [`executor`], and counts its [`result`].
//! 3. [`parse`] parses the [`admission_review`] into the [`input`] of a decision. A request of `kubectl scale` becomes the update
//!    of a resource ([`scale`]).
//! 4. [`decide`] returns the outcome: the components decide, and other autoscalers of the same worker group are found
//!    ([`autoscaler_conflict`]).
//! 5. Pods and Services that the resource describes ([`templates`]) are sent to the API server as a [`dry_run`].
//! 6. [`response`] writes the admission response.
//!
//! [`args`] are the command-line arguments, and [`tls`] manages the certificates. Every replica serves requests, not only the
//! leader.
//!
//! [`Outcome`]: dask_operator_evaluator::admission::AdmissionOutcome

pub(crate) mod admission_review;
pub(crate) mod args;
pub(crate) mod autoscaler_conflict;
pub(crate) mod body_memory;
pub(crate) mod decide;
pub(crate) mod dry_run;
pub(crate) mod executor;
pub(crate) mod handler;
pub(crate) mod input;
pub(crate) mod metrics;
pub(crate) mod parse;
pub(crate) mod response;
pub(crate) mod result;
pub(crate) mod scale;
pub(crate) mod server;
pub(crate) mod templates;
pub(crate) mod tls;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::cache::Stores;
use crate::health::Health;
use crate::plugins::{Plugins, Sources};
use crate::recording::Recording;
use crate::server::{Server, ShutdownSignal, bind};
use crate::threads::tasks::Tasks;
use args::WebhookArgs;
use decide::Decider;
use dry_run::DryRunClient;
use executor::Executor;
use handler::Handler;
use metrics::WebhookMetrics;
use server::Webhook;
use tls::files;
use tls::resolver::{self, CertResolver};
use tls::secret::CertificateSecret;

/// Name of the webhook in the readiness check.
const PART: &str = "webhook";

/// Time for which requests are still answered after the operator received the signal to shut down. API servers may send
/// requests for that long.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// Maximum number of open connections. API servers send fewer requests at a time.
const CONNECTIONS: usize = 512;

/// Dependencies of the webhook.
pub(crate) struct Parts<'a> {
    /// Client of the API server.
    pub(crate) client: &'a Client,
    /// Plugins that decide requests.
    pub(crate) plugins: Arc<Plugins>,
    /// Sources that plugins may be loaded from.
    pub(crate) sources: Sources,
    /// Informer cache.
    pub(crate) stores: Stores,
    /// Recorder of requests.
    pub(crate) recording: Recording,
    /// Readiness of the operator.
    pub(crate) health: Arc<Health>,
    /// Metrics of the webhook.
    pub(crate) metrics: WebhookMetrics,
    /// Number of processors.
    pub(crate) cores: usize,
    /// Receiver of the shutdown signal.
    pub(crate) shutdown: ShutdownSignal,
}

/// Starts the webhook if the command line enables it. Returns whether it was started.
///
/// # Errors
///
/// Returns an error if the address can't be bound, or if arguments contradict each other.
pub(crate) async fn start(args: &WebhookArgs, tasks: &mut Tasks, parts: Parts<'_>) -> anyhow::Result<bool> {
    let Parts {
        client,
        plugins,
        sources,
        stores,
        recording,
        health,
        metrics,
        cores,
        shutdown,
    } = parts;
    let Some(address) = args.address else {
        return Ok(false);
    };
    let listener = bind(address).await.with_context(|| {
        format!("failed to bind the webhook's address {address}: choose another one with --webhook")
    })?;
    let resolver = Arc::new(CertResolver::default());
    health.set_missing(PART, Some("the webhook has no certificate yet".to_owned()));
    match &args.certificate_folder {
        Some(folder) => {
            tasks.spawn(
                "the reader of the webhook's certificate",
                files::follow(folder.clone(), resolver.clone(), health),
            );
        }
        None => {
            let secret = CertificateSecret::new(args, client, resolver.clone(), health)?;
            tasks.spawn("the control loop of the webhook's certificate", secret.run());
        }
    }
    let own_user = match own_user(client).await {
        Ok(user) => user,
        Err(error) => {
            warn!("webhook: failed to determine the operator's own user: {error}");
            None
        }
    };
    let acceptor = TlsAcceptor::from(Arc::new(resolver::config(resolver)?));
    let decider = Decider {
        plugins,
        sources,
        stores,
        own_user,
        strict: args.strict,
    };
    let handler = Handler {
        decider,
        executor: Executor::new(cores),
        dry_run: DryRunClient::new(client.clone()),
        metrics,
        recording,
    };
    let server = Server {
        name: "webhook",
        service: Arc::new(Webhook::new(handler)),
        tls: Some(acceptor),
        connections: CONNECTIONS,
        shutdown,
    };
    tasks.spawn("the webhook's server", server.serve(listener));
    info!(%address, "started the webhook");
    Ok(true)
}

/// Returns the operator's own user, or `None` if it is no service account. The operator's own writes are admitted without
/// a decision.
async fn own_user(client: &Client) -> kube::Result<Option<String>> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await?;
    let user = review.status.and_then(|status| status.user_info?.username);
    Ok(user.filter(|user| user.starts_with("system:serviceaccount:")))
}
