//! The admission webhook: what people send is filled in and checked before it is stored.
//!
//! * [`args`]: what the command line says of it;
//! * [`certificates`]: when certificates are made and exchanged, without I/O;
//! * [`keeper`]: keeps them in a Secret, and the configurations' bundles up to date ([`bundles`]);
//!   [`folder`]: certificates that somebody else makes;
//! * [`identity`]: the certificate that is served, exchanged while connections live;
//! * [`server`]: what a request may hold and how long it may take; [`bodies`]: the bytes of those that come in; [`desk`]: the
//!   threads on which they are decided;
//! * [`templates`]: what a resource describes that the API server tries ([`dry_run`]); [`rivals`]: who else scales a worker group;
//! * [`handler`]: what becomes of it; [`review`]: from an `AdmissionReview` ([`wire`]) to what is to be decided, [`ask`]: by the
//!   components that decide, [`reply`]: to its answer; [`scale`]: what `kubectl scale` makes of a resource.
//!
//! Every replica serves, whoever leads. Requests are sent from [`keeper`] and [`bundles`], and one at the start from here.

pub mod args;
pub mod ask;
pub mod bodies;
pub mod bundles;
pub mod certificates;
pub mod desk;
pub mod dry_run;
pub mod folder;
pub mod handler;
pub mod identity;
pub mod keeper;
pub mod metrics;
pub mod reply;
pub mod review;
pub mod rivals;
pub mod scale;
pub mod server;
pub mod templates;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::health::Health;
use crate::metrics::Metrics;
use crate::plugins::{Plugins, Sources};
use crate::recording::Recording;
use crate::server::{Notice, Server, bind};
use crate::stores::Stores;
use crate::tasks::Tasks;
use args::WebhookArgs;
use ask::Deciders;
use desk::Desk;
use dry_run::DryRun;
use handler::Handler;
use identity::Identity;
use keeper::Keeper;
use server::Webhook;

/// What is not ready is said under this name.
const PART: &str = "webhook";

/// How long requests are still answered after the operator was told to end: so long it can take until
/// no API server asks it any more.
pub const LINGER: Duration = Duration::from_secs(2);

/// Connections that there may be at once: more than requests that API servers send at a time.
const CONNECTIONS: usize = 512;

/// What the webhook works with.
pub struct Parts<'a> {
    /// The API server's client.
    pub client: &'a Client,
    /// The plugins that decide.
    pub plugins: Arc<Plugins>,
    /// Where plugins come from.
    pub sources: Sources,
    /// What is known of the cluster.
    pub stores: Stores,
    /// Whether requests are recorded, and where.
    pub recording: Recording,
    /// Where readiness is kept.
    pub health: Arc<Health>,
    /// Where requests are counted.
    pub metrics: &'a Metrics,
    /// How many processors there are.
    pub cores: usize,
    /// Says when to end.
    pub ending: Notice,
}

/// Starts to serve, where the command line says that it shall. Gives whether it does.
///
/// # Errors
///
/// When the address can't be had, or arguments make no sense together.
pub async fn start(args: &WebhookArgs, tasks: &mut Tasks, parts: Parts<'_>) -> anyhow::Result<bool> {
    let Parts {
        client,
        plugins,
        sources,
        stores,
        recording,
        health,
        metrics,
        cores,
        ending,
    } = parts;
    let Some(address) = args.address else {
        return Ok(false);
    };
    let listener = bind(address)
        .await
        .with_context(|| format!("{address} can't be had for the webhook; name another with --webhook"))?;
    let identity = Arc::new(Identity::default());
    health.set_missing(PART, Some("the webhook has no certificate yet".to_owned()));
    match &args.certificate_folder {
        Some(folder) => {
            tasks.spawn(
                "what reads the webhook's certificate",
                folder::follow(folder.clone(), identity.clone(), health),
            );
        }
        None => {
            let keeper = Keeper::new(args, client, identity.clone(), health)?;
            tasks.spawn("what keeps the webhook's certificate", keeper.run());
        }
    }
    let own_user = match own_user(client).await {
        Ok(user) => user,
        Err(error) => {
            warn!("webhook: which user this operator is can't be found out: {error}");
            None
        }
    };
    let acceptor = TlsAcceptor::from(Arc::new(identity::config(identity)?));
    let deciders = Deciders {
        plugins,
        sources,
        stores,
        own_user,
        extra_kinds: args.extra_kinds.clone(),
        strict: args.strict,
    };
    let handler = Handler {
        deciders,
        desk: Desk::new(cores),
        dry_run: DryRun::new(client.clone()),
        metrics: metrics.webhook(),
        recording,
    };
    let server = Server {
        name: "webhook",
        service: Arc::new(Webhook::new(handler)),
        tls: Some(acceptor),
        connections: CONNECTIONS,
        ending,
    };
    tasks.spawn("the webhook's server", server.serve(listener));
    info!(%address, "serves the webhook");
    Ok(true)
}

/// The user that this operator is, if it is a service account: what it writes itself is not asked about.
async fn own_user(client: &Client) -> kube::Result<Option<String>> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await?;
    let user = review.status.and_then(|status| status.user_info?.username);
    Ok(user.filter(|user| user.starts_with("system:serviceaccount:")))
}
