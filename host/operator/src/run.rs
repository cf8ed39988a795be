//! `dask-operator run`: puts the parts together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use dask_operator_core::plan::ResourceKind;
use dask_operator_scheduler::TlsConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::cli::RunArgs;
use crate::client;
use crate::controller::Controller;
use crate::events::Events;
use crate::health::Health;
use crate::kinds::{ExtraKinds, Kind};
use crate::leading::Leading;
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::plugins::{Manager, Parts};
use crate::reconcile::Reconciler;
use crate::recording::Recording;
use crate::schedulers::{Network, Schedulers};
use crate::selection::Selection;
use crate::server::probes::Probes;
use crate::server::{Ending, Server};
use crate::settings::Settings;
use crate::stores::Stores;
use crate::tasks::Tasks;
use crate::writes::Writes;
use crate::{install, kopf, loading, logging, server, threads, webhook};

/// How long requests that are under way may take, at the end.
const SETTLE: Duration = Duration::from_secs(1);

/// How long those may take that others have sent to the operator.
const ANSWER: Duration = Duration::from_secs(5);

/// Connections that ask for health and metrics at once.
const PROBES: usize = 64;

/// Runs the operator until it is told to end.
///
/// # Errors
///
/// When it can't start: no cluster is configured, the address is taken, a
/// setting makes no sense.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    logging::start(&args);
    let cores = threads::cores();
    let runtime = threads::runtime(cores).context("the asynchronous runtime")?;
    let ended = runtime.block_on(start(args, cores));
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

async fn start(args: RunArgs, cores: usize) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ignored = args.former.without_effect();
    if !ignored.is_empty() {
        warn!("{}: understood, but without effect", ignored.join(", "));
    }
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    let address = args
        .bind
        .or(args.former.liveness)
        .unwrap_or(SocketAddr::from(([0, 0, 0, 0], 8080)));
    let listener = server::bind(address).await.with_context(|| {
        format!("{address} can't be had for health and metrics; name another with --bind")
    })?;

    let leading = match args.lease.name {
        Some(_) => Leading::not_yet(),
        None => Leading::always(),
    };
    let (metrics, health) = (
        Arc::new(Metrics::default()),
        Arc::new(Health::new(leading.clone())),
    );
    let client = client::connect(args.context.as_deref(), metrics.clone(), health.clone()).await?;
    let sources = args.sources.sources().context("--plugin-ca-file")?;
    let loading::Loaded {
        plugins,
        engine,
        kept,
    } = {
        let (mut args, metrics) = (args.plugins.clone(), metrics.clone());
        args.inherited = settings.of_components();
        tokio::task::spawn_blocking(move || loading::load(&args, metrics, cores)).await??
    };
    health.plugins_broken(plugins.catalog().broken().map(ToString::to_string).collect());

    // Pods and Services are always watched, whatever components declare: an
    // autoscaler is told of its scheduler's pod, and by both a scheduler is found.
    let always = ["Pod", "Service"].map(|kind| Kind::of(ResourceKind::new("v1", kind)));
    // What the administrator allows is watched too, so that plugins can have it.
    let catalog = plugins.catalog();
    let declared = catalog.child_kinds().map(|kind| Kind::of(kind.clone()));
    let allowed = args.allow_child.iter().chain(&args.allow_tenant_child).cloned();
    let stores = Stores::new(allowed.chain(always).chain(declared));
    let writes = Writes::new(client.clone(), args.writes_in_flight).only_while(leading.clone());
    let lease = Lease::new(&args.lease, &client, leading.clone());
    let events = Events::new(client.clone(), settings.events).only_while(leading.clone());
    let tls = TlsConfig::from_env().context("the certificate for Dask schedulers")?;
    let (tell, news) = mpsc::unbounded_channel();
    let schedulers = Schedulers::new(Box::new(Network::new(tls)), stores.clone(), metrics.clone(), tell);
    let plugins = Arc::new(plugins);
    let mut reconciler = Reconciler::new(
        stores.clone(),
        plugins.clone(),
        schedulers,
        writes.clone(),
        events,
        metrics.clone(),
    );
    let selection = Arc::new(Selection::new(args.namespace_selector.clone()));
    reconciler.selection = selection.clone();
    let recording = Recording::new(args.record_requests.clone()).context("--record-requests")?;
    reconciler.recording = recording.clone();
    reconciler.extra_kinds = ExtraKinds::new(&args.allow_child, &args.allow_tenant_child);

    let (mark, marked) = mpsc::unbounded_channel();
    let extra = reconciler.extra_kinds.clone();
    let controller = Arc::new(Controller::new(
        reconciler,
        health.clone(),
        metrics.clone(),
        mark,
        news,
    ));
    let queues = controller.clone();
    let parts = Parts {
        client: client.clone(),
        plugins: plugins.clone(),
        engine,
        sources: sources.clone(),
        kept,
        watched: stores.kinds().clone(),
        extra: extra.clone(),
        metrics: metrics.clone(),
        health: health.clone(),
        leading: leading.clone(),
        selection,
        swapped: Box::new(move |namespace| queues.swapped(namespace)),
    };
    // From here on nothing is decided until it is known which plugins are in force: only then may the webhook answer.
    let manager = Manager::new(parts, &args.namespaces);
    let mut webhook_args = args.webhook.clone();
    webhook_args.extra_kinds = extra;
    let mut tasks = Tasks::default();
    let ending = Ending::default();
    let parts = webhook::Parts {
        client: &client,
        plugins,
        sources,
        stores: stores.clone(),
        recording,
        health,
        metrics: &metrics,
        cores,
        ending: ending.notice(),
    };
    let asked = webhook::start(&webhook_args, &mut tasks, parts).await?;
    tasks.spawn("what takes off kopf's marks", {
        let (leading, writes) = (leading.clone(), writes.clone());
        async move {
            leading.wait().await;
            kopf::clean(marked, stores, writes).await;
        }
    });
    let probes = Server {
        name: "health and metrics",
        service: Arc::new(Probes::new(controller.clone())),
        tls: None,
        connections: PROBES,
        ending: ending.notice(),
    };
    tasks.spawn("the server of health and metrics", probes.serve(listener));
    info!(
        version = env!("CARGO_PKG_VERSION"), health = %address,
        namespaces = namespaces(&args),
        "starts"
    );
    let ended = tokio::select! {
        result = work(&args, client, controller, manager, lease.as_ref()) => result,
        ended = tasks.first_end() => Err(ended.into()),
        _ = terminate.recv() => { info!("ends, as SIGTERM asks"); Ok(()) }
        _ = interrupt.recv() => { info!("ends, as Ctrl-C asks"); Ok(()) }
    };
    // First no more writes, then the lease: who has it next finds nothing changing.
    leading.end();
    if let Some(lease) = &lease {
        writes.settle(SETTLE).await;
        lease.release().await;
    }
    if asked {
        tokio::time::sleep(webhook::LINGER).await;
    }
    ending.end(ANSWER).await;
    ended
}

/// Which namespaces are looked after, for the log.
fn namespaces(args: &RunArgs) -> String {
    match &args.namespace_selector {
        Some(selector) => format!("those with {selector}"),
        None if args.namespaces.is_empty() => "all".to_owned(),
        None => args.namespaces.join(","),
    }
}

async fn work(
    args: &RunArgs,
    client: kube::Client,
    controller: Arc<Controller>,
    manager: Manager,
    lease: Option<&Lease>,
) -> anyhow::Result<()> {
    if args.install_crds {
        install::crds(&client).await?;
    }
    let mut tasks = Tasks::default();
    tasks.spawn("what loads plugins", manager.run());
    tokio::select! {
        result = controller.run(client, &args.namespaces, args.concurrency, lease) => match result? {},
        ended = tasks.first_end() => Err(ended.into()),
    }
}
