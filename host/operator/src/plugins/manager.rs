//! Control loop that keeps the catalog in line with the plugin resources: it loads new versions, exchanges the catalog when they
//! are ready, rolls back versions that fail, and reports.

mod seen;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dask_operator_runtime::Engine;
use kube::Client;
use kube::runtime::events::EventType;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::key::PluginId;

use super::attempt::{Means, Outcome, Trials};
use super::awaited::{Awaited, UNREADY, unready};
use super::failure::LoadFailure;
use super::fetch::Sources;
use super::guard::{self, GuardReport};
use super::kept::Kept;
use super::known::Known;
use super::loads::Loads;
use super::marks::Marks;
use super::metrics::PluginMetrics;
use super::namespaces::Namespaces;
use super::prepare::Workshop;
use super::resource::Resource;
use super::watching::{self, WatchEvent, WatchScope};
use super::{Catalog, Plugins, report};
use crate::client::resource::Kinds;
use crate::health::Health;
use crate::leader_election::leadership::Leading;
use crate::selection::Selection;

/// Time for which a start waits for plugins that were active before.
const PATIENCE: Duration = Duration::from_secs(15);

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
    /// Client of the API server.
    pub(crate) client: Client,
    /// Catalog holder whose catalog is exchanged.
    pub(crate) plugins: Arc<Plugins>,
    /// Engine that compiles components.
    pub(crate) engine: Engine,
    /// Allowed sources of plugins.
    pub(crate) sources: Sources,
    /// Disk cache of active components, for restarts.
    pub(crate) kept: Kept,
    /// Kinds that are watched.
    pub(crate) watched: Kinds,
    /// Metrics to update.
    pub(crate) metrics: PluginMetrics,
    /// Callback for every exchange.
    pub(crate) swapped: Swapped,
    /// Health state, which is updated when the active plugins are known. Nothing is decided before.
    pub(crate) health: Arc<Health>,
    /// Leadership of this process. Only the leader writes.
    pub(crate) leading: Leading,
    /// Namespaces that are managed. The manager passes their labels to it.
    pub(crate) selection: Arc<Selection>,
}

/// Control loop that keeps the catalog in line with the plugin resources.
pub(crate) struct Manager {
    means: Arc<Means>,
    plugins: Arc<Plugins>,
    /// Catalog without plugins.
    base: Arc<Catalog>,
    metrics: PluginMetrics,
    swapped: Swapped,
    health: Arc<Health>,
    leading: Leading,
    /// True if the loop has noticed that this process leads.
    was_leading: bool,
    guard_rx: UnboundedReceiver<GuardReport>,
    known: BTreeMap<PluginId, Known>,
    /// Plugins in namespaces that are not managed.
    unselected: BTreeMap<PluginId, Resource>,
    selection: Arc<Selection>,
    /// Watch scopes that must be listed before anything is decided.
    awaited: Awaited,
    /// True once no plugin that existed at the start keeps this process from being ready.
    ready: bool,
    namespaces: Namespaces,
    /// Queue of plugins to load.
    loads: Loads,
    attempts: JoinSet<Outcome>,
    /// Outcomes of attempts that wait for the labels of namespaces.
    parked: Vec<Outcome>,
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
        let (guard_tx, guard_rx) = mpsc::unbounded_channel();
        let (watch_tx, watch_rx) = mpsc::channel(WATCH_EVENTS);
        let workshop = Workshop {
            engine: parts.engine,
            watched: parts.watched,
            allowed_kinds: parts.plugins.allowed_kinds().clone(),
            rights: parts.sources.rights.clone(),
            news: guard_tx,
        };
        let means = Means {
            client: parts.client,
            sources: parts.sources,
            marks: Marks::open(parts.kept.marks()),
            kept: parts.kept,
            workshop,
            trials: Trials::default(),
        };
        let manager = Self {
            means: Arc::new(means),
            base: parts.plugins.catalog(),
            plugins: parts.plugins,
            metrics: parts.metrics,
            swapped: parts.swapped,
            health: parts.health,
            was_leading: parts.leading.now(),
            leading: parts.leading,
            guard_rx,
            known: BTreeMap::new(),
            unselected: BTreeMap::new(),
            selection: parts.selection,
            awaited: Awaited::new(&scopes),
            ready: false,
            namespaces: Namespaces::default(),
            loads: Loads::default(),
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
            let watch = watching::plugins(self.means.client.clone(), scope, self.watch_tx.clone());
            self.watches.spawn(watch);
        }
        if self.selection.is_by_labels() {
            let why = "the labels of namespaces are not known yet".to_owned();
            self.health.set_missing(SELECTION, Some(why));
            self.watch_namespaces();
        }
        let leading = self.leading.clone();
        loop {
            // Deadlines later than this moment are waited for, even if they pass while the state is updated.
            let now = Instant::now();
            self.update_readiness();
            let due = self.known.values().filter_map(Known::due).min();
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
                Some(report) = self.guard_rx.recv() => self.guard_reported(report).await,
                () = wait => self.begin_due(),
                () = leading.wait(), if !self.was_leading => {
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
        if !self.awaited.is_over() {
            self.end_start();
        }
        let loading = || unready(self.known.values(), self.started.elapsed(), self.leading.now());
        let hindrance = self.awaited.hindrance().or_else(loading);
        self.ready = self.awaited.is_over() && hindrance.is_none();
        self.health.set_missing(PART, hindrance);
    }

    /// Ends the start once the active plugins are known.
    fn end_start(&mut self) {
        let loading = self
            .known
            .values()
            .any(|known| known.is_awaited() && known.is_loading());
        let late = self.started.elapsed() >= PATIENCE;
        let settled = !loading && !self.namespaces.is_pending();
        if self.awaited.all_listed() && (settled || late) {
            self.awaited.end();
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
        let with_plugins = self.known.keys().filter_map(|id| id.namespace.clone());
        let with_plugins: BTreeSet<_> = with_plugins.collect();
        let kept = self.means.kept.clone();
        // The manager does not wait, because removing many files takes long.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = kept.keep_only(&with_plugins) {
                warn!("can't remove stored components of namespaces without plugins: {error}");
            }
        });
    }

    /// Handles a guard's report: an active plugin fails repeatedly, or has recovered.
    async fn guard_reported(&mut self, GuardReport { id, digest, change }: GuardReport) {
        let Some(known) = self.known.get_mut(&id) else {
            return;
        };
        if known.good.as_ref().is_none_or(|good| good.digest != digest) {
            return;
        }
        match change {
            // The leader decides for all replicas; otherwise each replica could use another version at admission.
            guard::Change::Failing {
                message,
                may_roll_back,
            } if !self.leading.now() => {
                warn!(plugin = %id, "fails repeatedly; the leader decides about a rollback: {message}");
                known.record_failing(message, may_roll_back);
                return;
            }
            guard::Change::Failing {
                message,
                may_roll_back,
            } => self.roll_back(&id, &message, may_roll_back),
            guard::Change::Recovered if known.mark_recovered() => {}
            guard::Change::Recovered => return,
        }
        self.report(&id, false).await;
    }

    /// Rolls a failing plugin back if that is allowed and there is a version before.
    fn roll_back(&mut self, id: &PluginId, message: &str, may_roll_back: bool) {
        let Some(known) = self.known.get_mut(id) else {
            return;
        };
        if known.roll_back(message, may_roll_back) {
            self.metrics.rolled_back();
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
    }

    /// Takes over decisions and reports about all plugins, because this process has become the leader.
    async fn take_over(&mut self) {
        let ids: Vec<_> = self.known.keys().cloned().collect();
        for id in ids {
            let failing = self.known.get_mut(&id).and_then(Known::take_failing);
            if let Some((message, may_roll_back)) = failing {
                self.roll_back(&id, &message, may_roll_back);
            }
            self.report(&id, false).await;
        }
    }

    /// Exchanges the catalog for one of the active plugins.
    fn exchange(&self) {
        let entries = self
            .known
            .values()
            .filter_map(|known| self.namespaces.entry(known));
        let known = self.base.with(entries.collect(), self.namespaces.labels());
        self.plugins
            .exchange(known.without(self.awaited.unknown(&self.scopes)));
    }

    /// Logs the state of a plugin. The leader also writes its status, and publishes an event if it has changed.
    async fn report(&mut self, id: &PluginId, loaded: bool) {
        let Some(known) = self.known.get_mut(id) else {
            return;
        };
        let (type_, reason, note) = match (known.failure(), &known.good) {
            (Some(LoadFailure { reason, message, .. }), _) => {
                warn!(plugin = %id, reason, "{message}");
                (EventType::Warning, *reason, message.clone())
            }
            (None, Some(good)) => {
                if loaded {
                    info!(plugin = %id, component = good.title(), "in force");
                }
                (
                    EventType::Normal,
                    "InForce",
                    format!("{} is in force", good.title()),
                )
            }
            (None, None) => (EventType::Normal, "", String::new()),
        };
        if !self.leading.now() {
            return;
        }
        let wanted = report::status(
            &known.resource,
            known.good.as_ref(),
            known.rolled_back.as_ref(),
            known.failure(),
            known.is_unknown(),
        );
        let before = &known.resource.status;
        let is_new = wanted.error != before.error || wanted.last_good != before.last_good;
        known.resource.status = report::write(&self.means.client, &known.resource, wanted).await;
        if is_new && !reason.is_empty() {
            report::publish(&self.means.client, &known.resource, type_, reason, &note).await;
        }
    }
}
