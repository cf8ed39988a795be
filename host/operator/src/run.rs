//! `dask-operator run`: builds and starts the parts of the operator.

mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use dask_operator_core::plan::ResourceKind;
use dask_operator_evaluator::AllowedKinds;
use dask_operator_scheduler::TlsConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::args::RunArgs;
use crate::cache::Stores;
use crate::client;
use crate::client::crds;
use crate::client::events::Events;
use crate::client::resource::ResourceType;
use crate::client::writer::Writer;
use crate::controller::Controller;
use crate::controller::probes::Probes;
use crate::health::Health;
use crate::leader_election::Lease;
use crate::leader_election::leadership::Leadership;
use crate::legacy_env::Settings;
use crate::plugins::load::defaults;
use crate::plugins::load::{Manager, Parts};
use crate::reconcile::kopf;
use crate::reconcile::{Dependencies, Reconciler};
use crate::recording::Recording;
use crate::schedulers::{NetworkClient, Schedulers};
use crate::selection::Selection;
use crate::server::{Server, Shutdown};
use crate::threads::tasks::Tasks;
use crate::{logging, server, threads, webhook};
use metrics::Metrics;
pub use metrics::metrics_page;

/// Time that write requests in flight have to finish on shutdown.
const SETTLE: Duration = Duration::from_secs(1);

/// Time that incoming requests have to finish on shutdown.
const ANSWER: Duration = Duration::from_secs(5);

/// Maximum number of connections to the server of health and metrics.
const PROBES: usize = 64;

/// Runs the operator until it receives SIGTERM or SIGINT.
///
/// # Errors
///
/// Returns an error if the operator can't start (no cluster is configured, the address is taken, a setting is invalid),
/// or if it has to stop because of a failure.
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
        warn!("{}: accepted, but without effect", ignored.join(", "));
    }
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    let address = args
        .bind
        .or(args.former.liveness)
        .unwrap_or(SocketAddr::from(([0, 0, 0, 0], 8080)));
    let listener = server::bind(address).await.with_context(|| {
        format!("{address} can't be had for health and metrics; name another with --bind")
    })?;

    let leadership = match args.lease.name {
        Some(_) => Leadership::not_yet(),
        None => Leadership::always(),
    };
    let (metrics, health) = (Metrics::register(), Arc::new(Health::new(leadership.clone())));
    let client = client::connect(args.context.as_deref(), metrics.api, health.clone()).await?;
    let sources = args.sources.sources().context("--plugin-ca-file")?;
    let resources =
        |kinds: &[ResourceType]| -> Vec<_> { kinds.iter().map(|kind| kind.resource.clone()).collect() };
    let allowed_kinds = AllowedKinds::new(
        &resources(&args.allow_child),
        &resources(&args.allow_tenant_child),
    );
    let defaults::Defaults {
        plugins,
        engine,
        component_cache,
    } = {
        let (mut args, metrics) = (args.plugins.clone(), metrics.plugins.clone());
        args.inherited = settings.of_components();
        tokio::task::spawn_blocking(move || defaults::load(&args, allowed_kinds, metrics, cores)).await??
    };
    health.plugins_broken(plugins.catalog().broken().map(ToString::to_string).collect());

    // Pods and Services are always watched, whatever components declare: an autoscaler receives the pod of its
    // scheduler, and schedulers are found by both.
    let always = ["Pod", "Service"].map(|kind| ResourceType::of(ResourceKind::new("v1", kind)));
    // Kinds that the administrator allows are watched too, so that plugins can use them.
    let catalog = plugins.catalog();
    let declared = catalog.child_kinds().map(|kind| ResourceType::of(kind.clone()));
    let allowed = args.allow_child.iter().chain(&args.allow_tenant_child).cloned();
    let stores = Stores::new(allowed.chain(always).chain(declared));
    let writer = Writer::new(client.clone(), args.writes_in_flight).only_while(leadership.clone());
    // Statuses of plugins do not wait for the writes of reconciles.
    let status_writer = Writer::new(client.clone(), 1).only_while(leadership.clone());
    let lease = Lease::new(&args.lease, &client, leadership.clone());
    let events = Events::new(client.clone(), settings.events).only_while(leadership.clone());
    let tls = TlsConfig::from_env().context("the certificate for Dask schedulers")?;
    let (tell, news) = mpsc::unbounded_channel();
    let schedulers = Schedulers::new(
        Box::new(NetworkClient::new(tls)),
        stores.clone(),
        metrics.schedulers,
        tell,
    );
    let plugins = Arc::new(plugins);
    let selection = Arc::new(Selection::new(args.namespace_selector.clone()));
    let recording = Recording::new(args.record_requests.clone()).context("--record-requests")?;
    let reconciler = Reconciler::new(Dependencies {
        stores: stores.clone(),
        plugins: plugins.clone(),
        schedulers,
        writer: writer.clone(),
        events: events.clone(),
        metrics: metrics.reconcile,
        selection: selection.clone(),
        recording: recording.clone(),
    });

    let (mark, marked) = mpsc::unbounded_channel();
    let controller = Arc::new(Controller::new(
        reconciler,
        health.clone(),
        metrics.controller,
        mark,
        news,
    ));
    let queues = controller.clone();
    let parts = Parts {
        client: client.clone(),
        writer: status_writer.clone(),
        events: events.clone(),
        plugins: plugins.clone(),
        engine,
        sources: sources.clone(),
        cache: component_cache,
        watched: stores.kinds().clone(),
        metrics: metrics.plugins,
        health: health.clone(),
        leadership: leadership.clone(),
        selection,
        swapped: Box::new(move |namespace| queues.swapped(namespace)),
    };
    // No decision is made until the active plugins are known. The webhook may answer only after that.
    let manager = Manager::new(parts, &args.namespaces);
    let mut tasks = Tasks::default();
    let shutdown = Shutdown::default();
    let parts = webhook::Parts {
        client: &client,
        plugins,
        sources,
        stores: stores.clone(),
        recording,
        health,
        metrics: metrics.webhook,
        cores,
        shutdown: shutdown.signal(),
    };
    let serves_webhook = webhook::start(&args.webhook, &mut tasks, parts).await?;
    tasks.spawn("the removal of kopf's marks", {
        let (leadership, writer) = (leadership.clone(), writer.clone());
        async move {
            leadership.wait().await;
            kopf::clean(marked, stores, writer).await;
        }
    });
    let probes = Server {
        name: "health and metrics",
        service: Arc::new(Probes::new(controller.clone(), metrics.registry)),
        tls: None,
        connections: PROBES,
        shutdown: shutdown.signal(),
    };
    tasks.spawn("the server of health and metrics", probes.serve(listener));
    info!(
        version = env!("CARGO_PKG_VERSION"), health = %address,
        namespaces = namespaces(&args),
        "starting"
    );
    let ended = tokio::select! {
        result = work(&args, client, controller, manager, lease.as_ref()) => result,
        ended = tasks.first_end() => Err(ended.into()),
        _ = terminate.recv() => { info!("stopping: received SIGTERM"); Ok(()) }
        _ = interrupt.recv() => { info!("stopping: received SIGINT"); Ok(()) }
    };
    // Writes end before the lease is released, so that the next leader does not meet writes in flight.
    leadership.end();
    if let Some(lease) = &lease {
        tokio::join!(writer.settle(SETTLE), status_writer.settle(SETTLE));
        lease.release().await;
    }
    if serves_webhook {
        tokio::time::sleep(webhook::LINGER).await;
    }
    shutdown.shut_down(ANSWER).await;
    ended
}

/// Describes the managed namespaces, for the log.
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
        crds::crds(&client).await?;
    }
    let mut tasks = Tasks::default();
    tasks.spawn("the plugin manager", manager.run());
    tokio::select! {
        result = controller.run(client, &args.namespaces, args.concurrency, lease) => match result? {},
        ended = tasks.first_end() => Err(ended.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use dask_operator_evaluator::logic::PluginOwner;
    use parking_lot::RwLock;
    use tokio::task::spawn_blocking;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;
    use crate::threads::blocking::BlockingThreads;
    use crate::threads::fair_permits::permits;
    use crate::threads::{CLASSIFICATIONS, DECISIONS, HEAVY, LOADS, RARE, Weight};
    use crate::webhook::executor::{Executor, RequestCost, TimeLimits};

    #[test]
    fn all_who_may_block_can_do_so_at_the_same_time() -> anyhow::Result<()> {
        const CORES: usize = 2;
        const PERMITS: usize = permits(CORES);
        const OTHERS: usize =
            PERMITS + LOADS + dask_operator_scheduler::DECODERS + dask_operator_sources::oci::LOOKUPS + RARE;
        let runtime = threads::runtime(CORES)?;
        let (gate, taken) = (Arc::new(RwLock::new(())), Arc::new(AtomicUsize::new(0)));
        let closed = gate.write();
        let blocks = || {
            let (gate, taken) = (gate.clone(), taken.clone());
            move || {
                taken.fetch_add(1, Ordering::SeqCst);
                drop(gate.read());
            }
        };
        let done = runtime.block_on(async {
            let (blocking, executor) = (BlockingThreads::new(CORES), Arc::new(Executor::new(CORES)));
            let far = Instant::now() + Duration::from_secs(3600);
            let limits = TimeLimits {
                end: far,
                deadline: far,
            };
            // More tasks than there are permits.
            for number in 0..10 * CORES {
                let (blocking, work) = (blocking.clone(), blocks());
                let namespace = if number % 2 == 0 { "a" } else { "b" };
                tokio::spawn(async move { blocking.run(namespace, Weight::Light, work).await });
                let (short, work) = (executor.clone(), blocks());
                let bytes = if number % 2 == 0 { 0 } else { 2 * HEAVY };
                tokio::spawn(async move { short.run_short(limits, bytes, work).await });
                let (executor, work) = (executor.clone(), blocks());
                let cost = RequestCost {
                    namespace: number.to_string(),
                    owner: PluginOwner::Administrator,
                    text: 0,
                    tree: 0,
                };
                tokio::spawn(async move { executor.run(cost, far, limits, work).await });
            }
            for _ in 0..OTHERS {
                spawn_blocking(blocks());
            }
            let all = async {
                while taken.load(Ordering::SeqCst)
                    < PERMITS + (2 * CLASSIFICATIONS + DECISIONS) * CORES + OTHERS
                {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(Duration::from_secs(60), all).await
        });
        drop(closed);
        Ok(done?)
    }
}
