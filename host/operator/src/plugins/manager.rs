//! Keeps the catalog as the plugin resources say: loads what is new, exchanges it when it is
//! ready, goes back when it fails, and reports.

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

use super::attempt::{Means, Outcome, Trials};
use super::awaited::{Awaited, UNREADY, unready};
use super::failure::LoadFailure;
use super::fetch::Sources;
use super::guard::{self, News};
use super::kept::Kept;
use super::known::Known;
use super::loads::Loads;
use super::marks::Marks;
use super::namespaces::Namespaces;
use super::prepare::Workshop;
use super::resource::Resource;
use super::watching::{self, Place, Told};
use super::{Catalog, PluginId, Plugins, report};
use crate::health::Health;
use crate::kinds::{ExtraKinds, Kinds};
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::selection::Selection;

/// How long a start waits for what was in force before it.
const PATIENCE: Duration = Duration::from_secs(15);

/// What watches have told and nobody has heard yet. They wait then.
const TOLD: usize = 100;

/// What is not ready is said under this name.
const PART: &str = "plugins";

/// And so is what hinders to know which namespaces are looked after.
const SELECTION: &str = "namespaces";

/// Told that other components decide in a namespace now; none for all namespaces.
pub type Swapped = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// What the manager is made of.
pub struct Parts {
    /// The connection to the API server.
    pub client: Client,
    /// Who decides; its catalog is exchanged.
    pub plugins: Arc<Plugins>,
    /// Compiles components.
    pub engine: Engine,
    /// Where plugins may come from.
    pub sources: Sources,
    /// What was in force, for restarts.
    pub kept: Kept,
    /// Kinds that are watched.
    pub watched: Kinds,
    /// Kinds of children that the administrator allows beyond the usual.
    pub extra: ExtraKinds,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Told of every exchange.
    pub swapped: Swapped,
    /// Told when it is known who decides: nothing is decided before.
    pub health: Arc<Health>,
    /// Whether this process is the one that writes.
    pub leading: Leading,
    /// Which namespaces are looked after; it is told of their labels.
    pub selection: Arc<Selection>,
}

/// Keeps the catalog as the plugin resources say.
pub struct Manager {
    means: Arc<Means>,
    plugins: Arc<Plugins>,
    /// The catalog without plugins.
    base: Arc<Catalog>,
    metrics: Arc<Metrics>,
    swapped: Swapped,
    health: Arc<Health>,
    leading: Leading,
    /// Whether it led when it last looked.
    led: bool,
    news: UnboundedReceiver<News>,
    known: BTreeMap<PluginId, Known>,
    /// Plugins in namespaces that are not looked after.
    aside: BTreeMap<PluginId, Resource>,
    selection: Arc<Selection>,
    /// What is waited for until something is decided.
    awaited: Awaited,
    /// Whether plugins that were there at the start hinder this process from being ready no more.
    ready: bool,
    namespaces: Namespaces,
    /// Whose turn it is to be loaded.
    loads: Loads,
    attempts: JoinSet<Outcome>,
    /// What came of attempts, until it is known which namespaces it concerns.
    parked: Vec<Outcome>,
    watches: JoinSet<()>,
    tell: Sender<Told>,
    told: Receiver<Told>,
    places: Vec<Place>,
    started: Instant,
}

impl Manager {
    /// A manager of the plugins in these namespaces (empty for all, and those of the
    /// cluster), which has not begun yet. Nothing is decided until it has begun and knows which there are.
    #[must_use]
    pub fn new(parts: Parts, namespaces: &[String]) -> Self {
        let places = Place::of(namespaces);
        for place in &places {
            let (plural, namespace) = place.watched();
            parts.health.expect_watch(&place.title(), plural, namespace);
        }
        let (news_of, news) = mpsc::unbounded_channel();
        let (tell, told) = mpsc::channel(TOLD);
        let workshop = Workshop {
            engine: parts.engine,
            watched: parts.watched,
            extra: parts.extra,
            rights: parts.sources.rights.clone(),
            news: news_of,
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
            led: parts.leading.now(),
            leading: parts.leading,
            news,
            known: BTreeMap::new(),
            aside: BTreeMap::new(),
            selection: parts.selection,
            awaited: Awaited::new(&places),
            ready: false,
            namespaces: Namespaces::default(),
            loads: Loads::default(),
            attempts: JoinSet::new(),
            parked: Vec::new(),
            watches: JoinSet::new(),
            tell,
            told,
            places,
            started: Instant::now(),
        };
        manager.exchange();
        manager
    }

    /// Does its work for ever.
    pub async fn run(mut self) {
        self.started = Instant::now();
        for place in self.places.clone() {
            let watch = watching::plugins(self.means.client.clone(), place, self.tell.clone());
            self.watches.spawn(watch);
        }
        if self.selection.is_by_labels() {
            let why = "the labels of namespaces are not known yet".to_owned();
            self.health.set_missing(SELECTION, Some(why));
            self.ask_for_namespaces();
        }
        let leading = self.leading.clone();
        loop {
            // An end that comes from here on is waited for, even if it is over by then.
            let now = Instant::now();
            self.settle();
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
                Some(told) = self.told.recv() => self.hear(told).await,
                // None is aborted, and a panic in one is an outcome.
                Some(Ok(outcome)) = self.attempts.join_next(), if !self.attempts.is_empty() => self.ended(outcome).await,
                Some(news) = self.news.recv() => self.heard_of(news).await,
                () = wait => self.begin_due(),
                () = leading.wait(), if !self.led => {
                    self.led = true;
                    self.leads().await;
                }
            }
        }
    }

    /// Says when everything is known, and when this process is ready.
    fn settle(&mut self) {
        if self.ready {
            return;
        }
        if !self.awaited.is_over() {
            self.settle_places();
        }
        let loading = || unready(self.known.values(), self.started.elapsed(), self.leading.now());
        let hindrance = self.awaited.hindrance().or_else(loading);
        self.ready = self.awaited.is_over() && hindrance.is_none();
        self.health.set_missing(PART, hindrance);
    }

    /// Says when it is known which plugins are in force.
    fn settle_places(&mut self) {
        let loading = self
            .known
            .values()
            .any(|known| known.is_awaited() && known.is_loading());
        let late = self.started.elapsed() >= PATIENCE;
        let settled = !loading && !self.namespaces.are_awaited();
        if self.awaited.all_listed() && (settled || late) {
            self.awaited.end();
            self.clear_up();
            self.exchange();
            for place in &self.places {
                self.health.synced(&place.title());
            }
            // Suspects have waited for this.
            self.begin_next();
        }
    }

    /// Throws out what was kept for namespaces that have no plugins any more.
    fn clear_up(&self) {
        let with_plugins = self.known.keys().filter_map(|id| id.namespace.clone());
        let with_plugins: BTreeSet<_> = with_plugins.collect();
        let kept = self.means.kept.clone();
        // Nobody waits for it: removing much takes long.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = kept.keep_only(&with_plugins) {
                warn!("what is kept of namespaces without plugins can't be removed: {error}");
            }
        });
    }

    /// A plugin that is in force fails again and again, or does no more.
    async fn heard_of(&mut self, News { id, digest, what }: News) {
        let Some(known) = self.known.get_mut(&id) else {
            return;
        };
        if known.good.as_ref().is_none_or(|good| good.digest != digest) {
            return;
        }
        match what {
            // One decides for all replicas: else each would admit by another version.
            guard::Told::Fails { message, may_go_back } if !self.leading.now() => {
                warn!(plugin = %id, "fails again and again, which is for the replica that leads to decide about: {message}");
                known.blame(message, may_go_back);
                return;
            }
            guard::Told::Fails { message, may_go_back } => self.go_back(&id, &message, may_go_back),
            guard::Told::Well if known.is_well() => {}
            guard::Told::Well => return,
        }
        self.report(&id, false).await;
    }

    /// Takes back what fails again and again, where it may and there is something to go back to.
    fn go_back(&mut self, id: &PluginId, message: &str, may_go_back: bool) {
        let Some(known) = self.known.get_mut(id) else {
            return;
        };
        if known.go_back(message, may_go_back) {
            self.metrics.plugins().rolled_back();
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
    }

    /// It is for this replica now to decide about all plugins, and to say so.
    async fn leads(&mut self) {
        let ids: Vec<_> = self.known.keys().cloned().collect();
        for id in ids {
            let blame = self.known.get_mut(&id).and_then(Known::take_blame);
            if let Some((message, may_go_back)) = blame {
                self.go_back(&id, &message, may_go_back);
            }
            self.report(&id, false).await;
        }
    }

    /// Lets decide who is in force now.
    fn exchange(&self) {
        let entries = self
            .known
            .values()
            .filter_map(|known| self.namespaces.entry(known));
        let known = self.base.with(entries.collect(), self.namespaces.labels());
        self.plugins
            .exchange(known.without(self.awaited.unknown(&self.places)));
    }

    /// Writes a plugin's status, and tells of what is new in it.
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
            report::tell(&self.means.client, &known.resource, type_, reason, &note).await;
        }
    }
}
