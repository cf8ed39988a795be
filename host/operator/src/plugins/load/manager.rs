//! Control loop that keeps the catalog in line with the plugin resources: it loads new versions, exchanges the catalog when they
//! are ready, rolls back versions that fail, and reports.

mod attempts;
mod watch_events;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dask_operator_api::PluginStatus;
use dask_operator_core::plan::{Event, EventType};
use dask_operator_runtime::Engine;
use kube::Client;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::client::events::Events;
use crate::client::resource::ResourceTypes;
use crate::client::writer::Writer;
use crate::health::Health;
use crate::key::PluginId;
use crate::leader_election::leadership::Leadership;
use crate::plugins::Plugins;
use crate::plugins::breaker::{BreakerReport, Transition};
use crate::plugins::catalog::Catalog;
use crate::plugins::error::LoadFailure;
use crate::plugins::load::attempt::LoadContext;
use crate::plugins::load::cache::ComponentCache;
use crate::plugins::load::crash_records::CrashRecords;
use crate::plugins::load::prepare::Loader;
use crate::plugins::load::trial_lock::TrialLock;
use crate::plugins::load::watch::{self, WatchEvent};
use crate::plugins::load_queue::LoadQueue;
use crate::plugins::metrics::PluginMetrics;
use crate::plugins::namespace_labels::NamespaceLabels;
use crate::plugins::request::LoadOutcome;
use crate::plugins::resource::Resource;
use crate::plugins::sources::Sources;
use crate::plugins::startup::{Startup, UNREADY, unready};
use crate::plugins::state::PluginState;
use crate::plugins::status::{self, ReadyReason};
use crate::plugins::watch_scope::WatchScope;
use crate::selection::Selection;

/// Time for which a start waits for plugins that were active before.
const PATIENCE: Duration = Duration::from_secs(15);

/// Time limit for writing a status. All plugins wait meanwhile.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of watch events that are queued. The watches wait while the queue is full.
const WATCH_EVENTS: usize = 100;

/// Name under which health checks report why the plugins are not ready.
const PART: &str = "plugins";

/// Name under which health checks report why the selected namespaces are not known.
const SELECTION: &str = "namespaces";

/// Callback for an exchange of the catalog, with the namespace that is concerned; `None` for all namespaces.
pub(crate) type Swapped = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// Dependencies of the manager.
pub(crate) struct Parts {
    /// Client of the API server, for watches and for reading sources.
    pub(crate) client: Client,
    /// Sender of write requests, for the status of plugins.
    pub(crate) writer: Writer,
    /// Publisher of events about plugins.
    pub(crate) events: Events,
    /// Catalog holder whose catalog is exchanged.
    pub(crate) plugins: Arc<Plugins>,
    /// Engine that compiles components.
    pub(crate) engine: Engine,
    /// Allowed sources of plugins.
    pub(crate) sources: Sources,
    /// Disk cache of active components, for restarts.
    pub(crate) cache: ComponentCache,
    /// Kinds that are watched.
    pub(crate) watched: ResourceTypes,
    /// Metrics to update.
    pub(crate) metrics: PluginMetrics,
    /// Callback for every exchange.
    pub(crate) swapped: Swapped,
    /// Health state, which is updated when the active plugins are known. Nothing is decided before.
    pub(crate) health: Arc<Health>,
    /// Leadership of this process. Only the leader writes.
    pub(crate) leadership: Leadership,
    /// Namespaces that are managed. The manager passes their labels to it.
    pub(crate) selection: Arc<Selection>,
}

/// Control loop that keeps the catalog in line with the plugin resources.
pub(crate) struct Manager {
    context: Arc<LoadContext>,
    writer: Writer,
    events: Events,
    plugins: Arc<Plugins>,
    /// Catalog without plugins.
    base: Arc<Catalog>,
    metrics: PluginMetrics,
    swapped: Swapped,
    health: Arc<Health>,
    leadership: Leadership,
    /// True if the loop has noticed that this process leads.
    was_leading: bool,
    breaker_rx: UnboundedReceiver<BreakerReport>,
    states: BTreeMap<PluginId, PluginState>,
    /// Plugins in namespaces that are not managed.
    unselected: BTreeMap<PluginId, Resource>,
    selection: Arc<Selection>,
    /// Watch scopes that must be listed before anything is decided.
    startup: Startup,
    /// True once no plugin that existed at the start keeps this process from being ready.
    ready: bool,
    namespaces: NamespaceLabels,
    /// Queue of plugins to load.
    queue: LoadQueue,
    attempts: JoinSet<LoadOutcome>,
    /// Outcomes of attempts that wait for the labels of namespaces.
    parked: Vec<LoadOutcome>,
    watches: JoinSet<()>,
    watch_tx: Sender<WatchEvent>,
    watch_rx: Receiver<WatchEvent>,
    scopes: Vec<WatchScope>,
    started: Instant,
}

impl Manager {
    /// Creates a manager of the plugins in these namespaces; if there are none, of all namespaces and of the cluster. Nothing is
    /// decided until it runs and the existing plugins are known.
    #[must_use]
    pub(crate) fn new(parts: Parts, namespaces: &[String]) -> Self {
        let scopes = WatchScope::of(namespaces);
        for scope in &scopes {
            let (plural, namespace) = scope.watched();
            parts.health.expect_watch(&scope.title(), plural, namespace);
        }
        let (breaker_tx, breaker_rx) = mpsc::unbounded_channel();
        let (watch_tx, watch_rx) = mpsc::channel(WATCH_EVENTS);
        let loader = Loader {
            engine: parts.engine,
            watched: parts.watched,
            allowed_kinds: parts.plugins.allowed_kinds().clone(),
            rights: parts.sources.rights.clone(),
            reports: breaker_tx,
        };
        let context = LoadContext {
            client: parts.client,
            sources: parts.sources,
            crash_records: CrashRecords::open(parts.cache.crash_records_folder()),
            cache: parts.cache,
            loader,
            trials: TrialLock::default(),
        };
        let manager = Self {
            context: Arc::new(context),
            writer: parts.writer,
            events: parts.events,
            base: parts.plugins.catalog(),
            plugins: parts.plugins,
            metrics: parts.metrics,
            swapped: parts.swapped,
            health: parts.health,
            was_leading: parts.leadership.now(),
            leadership: parts.leadership,
            breaker_rx,
            states: BTreeMap::new(),
            unselected: BTreeMap::new(),
            selection: parts.selection,
            startup: Startup::new(&scopes),
            ready: false,
            namespaces: NamespaceLabels::default(),
            queue: LoadQueue::default(),
            attempts: JoinSet::new(),
            parked: Vec::new(),
            watches: JoinSet::new(),
            watch_tx,
            watch_rx,
            scopes,
            started: Instant::now(),
        };
        manager.exchange();
        manager
    }

    /// Runs until the process exits.
    pub(crate) async fn run(mut self) {
        self.started = Instant::now();
        for scope in self.scopes.clone() {
            let watch = watch::plugins(self.context.client.clone(), scope, self.watch_tx.clone());
            self.watches.spawn(watch);
        }
        if self.selection.is_by_labels() {
            let why = "the labels of namespaces are not known yet".to_owned();
            self.health.set_missing(SELECTION, Some(why));
            self.watch_namespaces();
        }
        let leadership = self.leadership.clone();
        loop {
            // Deadlines later than this moment are waited for, even if they pass while the state is updated.
            let now = Instant::now();
            self.update_readiness();
            let due = self.states.values().filter_map(PluginState::due).min();
            let ends = [PATIENCE, UNREADY].map(|wait| self.started + wait);
            let ends = ends.into_iter().filter(|end| !self.ready && *end > now);
            let next = due.into_iter().chain(ends).min();
            let wait = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(event) = self.watch_rx.recv() => self.handle(event).await,
                // No task is aborted, and a panic in one becomes an outcome.
                Some(Ok(outcome)) = self.attempts.join_next(), if !self.attempts.is_empty() => self.attempt_ended(outcome).await,
                Some(report) = self.breaker_rx.recv() => self.breaker_reported(report).await,
                () = wait => self.begin_due(),
                () = leadership.wait(), if !self.was_leading => {
                    self.was_leading = true;
                    self.take_over().await;
                }
            }
        }
    }

    /// Updates the readiness of this process.
    fn update_readiness(&mut self) {
        if self.ready {
            return;
        }
        if !self.startup.is_over() {
            self.end_start();
        }
        let loading = || {
            unready(
                self.states.values(),
                self.started.elapsed(),
                self.leadership.now(),
            )
        };
        let reason = self.startup.unlisted_reason().or_else(loading);
        self.ready = self.startup.is_over() && reason.is_none();
        self.health.set_missing(PART, reason);
    }

    /// Ends the start once the active plugins are known.
    fn end_start(&mut self) {
        let loading = self
            .states
            .values()
            .any(|state| state.delays_start() && state.is_loading());
        let late = self.started.elapsed() >= PATIENCE;
        let settled = !loading && !self.namespaces.is_pending();
        if self.startup.all_listed() && (settled || late) {
            self.startup.end();
            self.remove_unused_components();
            self.exchange();
            for scope in &self.scopes {
                self.health.synced(&scope.title());
            }
            // Suspects are not tried before.
            self.begin_next();
        }
    }

    /// Removes stored components of namespaces that have no plugins any more.
    fn remove_unused_components(&self) {
        let with_plugins = self.states.keys().filter_map(|id| id.namespace.clone());
        let with_plugins: BTreeSet<_> = with_plugins.collect();
        let cache = self.context.cache.clone();
        // The manager does not wait, because removing many files takes long.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = cache.keep_only(&with_plugins) {
                warn!("can't remove stored components of namespaces without plugins: {error}");
            }
        });
    }

    /// Handles the report of a circuit breaker: an active plugin fails repeatedly, or has recovered.
    async fn breaker_reported(
        &mut self,
        BreakerReport {
            id,
            digest,
            transition,
        }: BreakerReport,
    ) {
        let Some(state) = self.states.get_mut(&id) else {
            return;
        };
        if state.active.as_ref().is_none_or(|active| active.digest != digest) {
            return;
        }
        match transition {
            // The leader decides for all replicas; otherwise each replica could use another version at admission.
            Transition::Tripped {
                message,
                may_roll_back,
            } if !self.leadership.now() => {
                warn!(plugin = %id, "fails repeatedly; the leader decides about a rollback: {message}");
                state.record_failing(message, may_roll_back);
                return;
            }
            Transition::Tripped {
                message,
                may_roll_back,
            } => self.roll_back(&id, &message, may_roll_back),
            Transition::Recovered if state.mark_recovered() => {}
            Transition::Recovered => return,
        }
        self.report(&id, false).await;
    }

    /// Rolls a failing plugin back if that is allowed and there is a version before.
    fn roll_back(&mut self, id: &PluginId, message: &str, may_roll_back: bool) {
        let Some(state) = self.states.get_mut(id) else {
            return;
        };
        if state.roll_back(message, may_roll_back) {
            self.metrics.rolled_back();
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
    }

    /// Takes over decisions and reports about all plugins, because this process has become the leader.
    async fn take_over(&mut self) {
        let ids: Vec<_> = self.states.keys().cloned().collect();
        for id in ids {
            let failing = self.states.get_mut(&id).and_then(PluginState::take_failing);
            if let Some((message, may_roll_back)) = failing {
                self.roll_back(&id, &message, may_roll_back);
            }
            self.report(&id, false).await;
        }
    }

    /// Exchanges the catalog for one of the active plugins.
    fn exchange(&self) {
        let entries = self
            .states
            .values()
            .filter_map(|state| self.namespaces.entry(state));
        let catalog = self.base.with(entries.collect(), self.namespaces.labels());
        self.plugins
            .exchange(catalog.without(self.startup.unknown(&self.scopes)));
    }

    /// Logs the state of a plugin. The leader also writes its status, and publishes an event if it has changed.
    async fn report(&mut self, id: &PluginId, loaded: bool) {
        let Some(state) = self.states.get_mut(id) else {
            return;
        };
        let event = match (state.failure(), &state.active) {
            (Some(LoadFailure { reason, message, .. }), _) => {
                warn!(plugin = %id, reason = reason.as_str(), "{message}");
                Some(Event {
                    type_: EventType::Warning,
                    reason: reason.as_str().to_owned(),
                    message: message.clone(),
                })
            }
            (None, Some(active)) => {
                if loaded {
                    info!(plugin = %id, component = active.title(), "in force");
                }
                Some(Event {
                    type_: EventType::Normal,
                    reason: ReadyReason::InForce.as_str().to_owned(),
                    message: format!("{} is in force", active.title()),
                })
            }
            (None, None) => None,
        };
        if !self.leadership.now() {
            return;
        }
        let wanted = status::desired(
            &state.resource,
            state.active.as_ref(),
            state.rolled_back.as_ref(),
            state.failure(),
            state.is_unknown(),
        );
        let before = &state.resource.status;
        let is_new = wanted.error != before.error || wanted.last_good != before.last_good;
        if write_status(&self.writer, &state.resource, &wanted).await {
            state.resource.status = wanted;
        }
        if let Some(event) = event.filter(|_| is_new) {
            let regarding = state.resource.reference();
            self.events.publish_about(&regarding, "Load", &event).await;
        }
    }
}

/// Writes the status of a plugin, unless it is unchanged. Returns whether the plugin has that status. The request is completed
/// even if the caller is dropped, so that [`Writer::settle`] waits for it.
async fn write_status(writer: &Writer, resource: &Resource, wanted: &PluginStatus) -> bool {
    if *wanted == resource.status {
        return true;
    }
    let (kind, regarding) = (resource.kind(), resource.reference());
    let (writer, wanted) = (writer.clone(), wanted.clone());
    let write = tokio::spawn(async move {
        let written = writer.apply_status_of(&kind, &regarding, &wanted);
        tokio::time::timeout(STATUS_TIMEOUT, written).await
    });
    let why = match write.await {
        Ok(Ok(Ok(()))) => return true,
        Ok(Ok(Err(error))) => error.message,
        Ok(Err(_)) => format!("no answer in {} s", STATUS_TIMEOUT.as_secs()),
        Err(error) => error.to_string(),
    };
    warn!(plugin = %resource.id, "can't write the status: {why}");
    false
}

#[cfg(test)]
mod tests;
