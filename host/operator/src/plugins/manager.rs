//! Keeps the catalog as the plugin resources say: loads what is new, exchanges it when it is
//! ready, goes back when it fails, and reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dask_operator_runtime::Engine;
use kube::Client;
use kube::runtime::events::EventType;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::attempt::{Attempt, Means, Outcome};
use super::failure::LoadFailure;
use super::fetch::Sources;
use super::guard::Failing;
use super::kept::Kept;
use super::known::Known;
use super::prepare::Workshop;
use super::resource::Resource;
use super::watching::{self, Place, Told};
use super::{Catalog, Labels, PluginId, Plugins, report};
use crate::health::Health;
use crate::kinds::Kinds;
use crate::leading::Leading;
use crate::metrics::Metrics;

/// Attempts that run at once.
const AT_ONCE: usize = 2;

/// How long a start waits for what was in force before it.
const PATIENCE: Duration = Duration::from_secs(15);

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
    pub extra: Vec<dask_operator_core::plan::ResourceKind>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Told of every exchange.
    pub swapped: Swapped,
    /// Told when it is known who decides: nothing is decided before.
    pub health: Arc<Health>,
    /// Whether this process is the one that writes.
    pub leading: Leading,
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
    failing: UnboundedReceiver<Failing>,
    known: BTreeMap<PluginId, Known>,
    /// Places whose plugins are not known yet.
    unlisted: Vec<Place>,
    /// Labels of namespaces; none where nobody has asked for them.
    namespaces: Option<BTreeMap<String, Labels>>,
    namespaces_listed: bool,
    attempts: JoinSet<Outcome>,
    watches: JoinSet<()>,
    tell: UnboundedSender<Told>,
    told: UnboundedReceiver<Told>,
    places: Vec<Place>,
    ready: bool,
    started: Instant,
}

impl Manager {
    /// A manager of the plugins in these namespaces (empty for all, and those of the
    /// cluster), which has not begun yet.
    #[must_use]
    pub fn new(parts: Parts, namespaces: &[String]) -> Self {
        let places = Place::of(namespaces);
        for place in &places {
            let (plural, namespace) = place.watched();
            parts.health.expect_watch(&place.title(), plural, namespace);
        }
        let (fail, failing) = mpsc::unbounded_channel();
        let (tell, told) = mpsc::unbounded_channel();
        let workshop = Workshop {
            engine: parts.engine,
            watched: parts.watched,
            extra: parts.extra,
            failing: fail,
        };
        let means = Means {
            client: parts.client,
            sources: parts.sources,
            kept: parts.kept,
            workshop,
            permits: Semaphore::new(AT_ONCE),
        };
        Self {
            means: Arc::new(means),
            base: parts.plugins.catalog(),
            plugins: parts.plugins,
            metrics: parts.metrics,
            swapped: parts.swapped,
            health: parts.health,
            led: parts.leading.now(),
            leading: parts.leading,
            failing,
            known: BTreeMap::new(),
            namespaces: None,
            namespaces_listed: false,
            attempts: JoinSet::new(),
            watches: JoinSet::new(),
            tell,
            told,
            unlisted: places.clone(),
            places,
            ready: false,
            started: Instant::now(),
        }
    }

    /// Does its work for ever.
    pub async fn run(mut self) {
        self.started = Instant::now();
        for place in self.places.clone() {
            let watch = watching::plugins(self.means.client.clone(), place, self.tell.clone());
            self.watches.spawn(watch);
        }
        let leading = self.leading.clone();
        loop {
            self.settle();
            let due = self.known.values().filter_map(Known::due).min();
            let patience = (!self.ready).then(|| self.started + PATIENCE);
            let next = [due, patience].into_iter().flatten().min();
            let wait = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(told) = self.told.recv() => self.hear(told).await,
                Some(outcome) = self.attempts.join_next(), if !self.attempts.is_empty() => match outcome {
                    Ok(outcome) => self.came_of(outcome).await,
                    Err(error) => warn!("an attempt to load a plugin ended: {error}; this is a bug"),
                },
                Some(failing) = self.failing.recv() => self.fails(failing).await,
                () = wait => self.begin_due(),
                () = leading.wait(), if !self.led => {
                    self.led = true;
                    let ids: Vec<_> = self.known.keys().cloned().collect();
                    for id in ids {
                        self.report(&id, false).await;
                    }
                }
            }
        }
    }

    /// Says when everything is known.
    fn settle(&mut self) {
        if self.ready {
            return;
        }
        let loading = self
            .known
            .values()
            .any(|known| known.was_in_force() && known.is_loading());
        let names = self.namespaces.is_some() && !self.namespaces_listed;
        let settled = self.unlisted.is_empty() && !loading && !names;
        let late = self.unlisted.is_empty() && self.started.elapsed() >= PATIENCE;
        if settled || late {
            self.exchange();
            self.ready = true;
            for place in &self.places {
                self.health.synced(&place.title());
            }
        }
    }

    async fn hear(&mut self, told: Told) {
        match told {
            Told::Seen(resource) => self.seen(*resource),
            Told::Gone(id) => self.gone(&id),
            Told::Listed(place, ids) => {
                let ids: BTreeSet<_> = ids.into_iter().collect();
                let gone: Vec<_> = self
                    .known
                    .keys()
                    .filter(|id| place.has(id) && !ids.contains(id))
                    .cloned()
                    .collect();
                gone.iter().for_each(|id| self.gone(id));
                self.unlisted.retain(|unlisted| *unlisted != place);
            }
            Told::Unavailable(place) => self.unlisted.retain(|unlisted| *unlisted != place),
            Told::Namespace(name, labels) => {
                let namespaces = self.namespaces.get_or_insert_default();
                let before = namespaces.insert(name.clone(), labels.clone());
                if self.namespaces_listed && before.as_ref() != Some(&labels) {
                    self.exchange();
                    (self.swapped)(Some(&name));
                }
            }
            Told::NamespaceGone(name) => {
                if let Some(namespaces) = &mut self.namespaces {
                    namespaces.remove(&name);
                }
            }
            Told::NamespacesListed => {
                if !std::mem::replace(&mut self.namespaces_listed, true) {
                    self.exchange();
                    (self.swapped)(None);
                }
            }
        }
    }

    fn seen(&mut self, resource: Resource) {
        if !resource.scope.namespaces.selects_all() && self.namespaces.is_none() {
            self.namespaces = Some(BTreeMap::new());
            let watch = watching::namespaces(self.means.client.clone(), self.tell.clone());
            self.watches.spawn(watch);
        }
        let id = resource.id.clone();
        // One of the same name that was made anew is another one.
        if self
            .known
            .get(&id)
            .is_some_and(|known| known.resource.uid != resource.uid)
        {
            self.gone(&id);
        }
        match self.known.get_mut(&id) {
            Some(known) if known.resource.generation >= resource.generation => {
                // Who leads writes the status, and knows it.
                if !self.leading.now() {
                    known.resource.status = resource.status;
                }
                return;
            }
            Some(known) => known.wants(resource),
            None => {
                self.known.insert(id.clone(), Known::new(resource));
            }
        }
        self.begin(&id);
    }

    fn gone(&mut self, id: &PluginId) {
        let Some(known) = self.known.remove(id) else {
            return;
        };
        if known.good.is_some() || known.was_in_force() {
            info!(plugin = %id, "deleted: others decide in its place");
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
    }

    /// Begins all attempts whose time has come.
    fn begin_due(&mut self) {
        let now = Instant::now();
        let is_due = |known: &Known| known.due().is_some_and(|due| due <= now);
        let due: Vec<_> = self
            .known
            .iter()
            .filter(|(_, known)| is_due(known))
            .map(|(id, _)| id.clone())
            .collect();
        due.iter().for_each(|id| self.begin(id));
    }

    fn begin(&mut self, id: &PluginId) {
        if let Some(known) = self.known.get_mut(id)
            && let Some(attempt) = known.begin()
        {
            self.attempts.spawn(Attempt::make(attempt, self.means.clone()));
        }
    }

    /// An attempt has ended.
    async fn came_of(&mut self, outcome: Outcome) {
        let id = outcome.id.clone();
        let Some(known) = self
            .known
            .get_mut(&id)
            .filter(|known| known.resource.uid == outcome.uid)
        else {
            return;
        };
        if known.is_outdated(outcome.generation) {
            self.begin(&id);
            return;
        }
        self.metrics.plugin_loaded(
            outcome
                .failure
                .as_ref()
                .map_or("success", |failure| failure.reason),
        );
        let changed = known.ended(outcome);
        if changed {
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
        self.report(&id, changed).await;
    }

    /// A plugin that is in force fails again and again.
    async fn fails(&mut self, failing: Failing) {
        let id = failing.id.clone();
        let Some(known) = self.known.get_mut(&id) else {
            return;
        };
        if known
            .good
            .as_ref()
            .is_none_or(|good| good.digest != failing.digest)
        {
            return;
        }
        if known.go_back(&failing) {
            self.metrics.plugin_rolled_back();
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
        self.report(&id, false).await;
    }

    /// Lets decide who is in force now.
    fn exchange(&self) {
        let namespaces = self.namespaces.clone().unwrap_or_default();
        let may_be_chosen =
            |known: &&Known| self.namespaces_listed || known.resource.scope.namespaces.selects_all();
        let entries = self.known.values().filter(may_be_chosen).filter_map(Known::entry);
        self.plugins
            .exchange(self.base.with(entries.collect(), namespaces));
    }

    /// Writes a plugin's status, and tells of what is new in it.
    async fn report(&mut self, id: &PluginId, loaded: bool) {
        let Some(known) = self.known.get_mut(id) else {
            return;
        };
        let (type_, reason, note) = match (&known.failure, &known.good) {
            (Some(LoadFailure { reason, message }), _) => {
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
            known.failure.as_ref(),
        );
        let before = &known.resource.status;
        let is_new = wanted.error != before.error || wanted.last_good != before.last_good;
        known.resource.status = report::write(&self.means.client, &known.resource, wanted).await;
        if is_new && !reason.is_empty() {
            report::tell(&self.means.client, &known.resource, type_, reason, &note).await;
        }
    }
}
