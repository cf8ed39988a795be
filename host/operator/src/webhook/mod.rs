//! Admission webhook, which defaults and validates resources before they are stored.
//!
//! * [`args`]: command-line arguments;
//! * certificates: [`tls`];
//! * [`server`]: limits for the size and time of requests; [`bodies`]: memory limit for the bodies that are being read;
//!   [`desk`]: threads on which requests are decided;
//! * [`templates`]: Pods and Services described by a resource, sent to the API server as a dry run ([`dry_run`]); [`rivals`]:
//!   other autoscalers of the same worker group;
//! * [`handler`]: processing of a request: [`review`] turns an `AdmissionReview` ([`wire`]) into a question ([`request`]), [`ask`]
//!   decides it with the components, and [`reply`] writes the response; [`scale`]: admission of `kubectl scale`.
//!
//! Every replica serves requests, not only the leader. Requests to the API server are sent by [`tls`] and [`dry_run`],
//! and one at the start by this module.

pub(crate) mod args;
pub(crate) mod ask;
pub(crate) mod bodies;
pub(crate) mod desk;
pub(crate) mod dry_run;
pub(crate) mod handler;
pub(crate) mod metrics;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod review;
pub(crate) mod rivals;
pub(crate) mod scale;
pub(crate) mod server;
pub(crate) mod templates;
pub(crate) mod tls;
pub(crate) mod wire;

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
use ask::Deciders;
use desk::Desk;
use dry_run::DryRun;
use handler::Handler;
use metrics::WebhookMetrics;
use server::Webhook;
use tls::files;
use tls::resolver::{self, Identity};
use tls::secret::Keeper;

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
    let identity = Arc::new(Identity::default());
    health.set_missing(PART, Some("the webhook has no certificate yet".to_owned()));
    match &args.certificate_folder {
        Some(folder) => {
            tasks.spawn(
                "the reader of the webhook's certificate",
                files::follow(folder.clone(), identity.clone(), health),
            );
        }
        None => {
            let keeper = Keeper::new(args, client, identity.clone(), health)?;
            tasks.spawn("the keeper of the webhook's certificate", keeper.run());
        }
    }
    let own_user = match own_user(client).await {
        Ok(user) => user,
        Err(error) => {
            warn!("webhook: failed to determine the operator's own user: {error}");
            None
        }
    };
    let acceptor = TlsAcceptor::from(Arc::new(resolver::config(identity)?));
    let deciders = Deciders {
        plugins,
        sources,
        stores,
        own_user,
        strict: args.strict,
    };
    let handler = Handler {
        deciders,
        desk: Desk::new(cores),
        dry_run: DryRun::new(client.clone()),
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
