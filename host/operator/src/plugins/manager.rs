//! Keeps the catalog as the plugin resources say: loads what is new, exchanges it when it is
//! ready, goes back when it fails, and reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dask_operator_runtime::Engine;
use kube::Client;
use kube::runtime::events::EventType;
use tokio::sync::RwLock;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::attempt::{Attempt, Means, Outcome};
use super::awaited::Awaited;
use super::failure::{LoadFailure, TOO_MANY};
use super::fetch::Sources;
use super::guard::{self, News};
use super::kept::Kept;
use super::known::{Follow, Known};
use super::loads::Loads;
use super::marks::Marks;
use super::namespaces::Namespaces;
use super::prepare::Workshop;
use super::resource::Resource;
use super::watching::{self, Place, Told};
use super::{Catalog, PluginId, Plugins, quota, report};
use crate::health::Health;
use crate::kinds::{ExtraKinds, Kinds};
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::selection::Selection;

/// How long a start waits for what was in force before it.
const PATIENCE: Duration = Duration::from_secs(15);

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
    namespaces: Namespaces,
    /// Whose turn it is to be loaded.
    loads: Loads,
    attempts: JoinSet<Outcome>,
    /// What came of attempts, until it is known which namespaces it concerns.
    parked: Vec<Outcome>,
    watches: JoinSet<()>,
    tell: UnboundedSender<Told>,
    told: UnboundedReceiver<Told>,
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
        let (tell, told) = mpsc::unbounded_channel();
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
            trials: RwLock::default(),
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
            self.settle();
            let due = self.known.values().filter_map(Known::due).min();
            let patience = (!self.awaited.is_over()).then(|| self.started + PATIENCE);
            let next = [due, patience].into_iter().flatten().min();
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

    /// Says when everything is known.
    fn settle(&mut self) {
        if self.awaited.is_over() {
            return;
        }
        self.health.set_missing(PART, self.awaited.hindrance());
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
        }
    }

    /// Throws out what was kept for namespaces that have no plugins any more.
    fn clear_up(&self) {
        let with_plugins = self.known.keys().filter_map(|id| id.namespace.as_deref());
        if let Err(error) = self.means.kept.keep_only(&with_plugins.collect()) {
            warn!("what is kept of namespaces without plugins can't be removed: {error}");
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
                self.aside.retain(|id, _| !place.has(id) || ids.contains(id));
                self.awaited.is_listed(&place);
            }
            Told::NotInstalled(place) => self.awaited.is_listed(&place),
            Told::Unlisted(place, why) => {
                if self.awaited.is_hindered(&place, why) {
                    self.exchange();
                }
            }
            Told::Namespace(name, labels) => {
                let other_selection = self.selection.labelled(&name, Some(&labels));
                if other_selection {
                    self.selected_or_not(&name);
                }
                let other_choice = self.namespaces.seen(&name, labels);
                if other_choice {
                    self.exchange();
                }
                if other_choice || other_selection {
                    (self.swapped)(Some(&name));
                }
            }
            Told::NamespaceGone(name) => self.namespace_gone(&name),
            Told::NamespacesListed(all) => {
                for name in self.namespaces.missing(&all) {
                    self.namespace_gone(&name);
                }
                self.health.set_missing(SELECTION, None);
                if self.namespaces.are_listed() {
                    self.exchange();
                    (self.swapped)(None);
                    self.begin_where(|known| known.resource.scope.by_labels && known.failure().is_some());
                }
                self.unpark().await;
            }
            Told::NamespacesForbidden(why) => {
                if self.selection.is_by_labels() && self.namespaces.are_awaited() {
                    self.health.set_missing(SELECTION, Some(why.clone()));
                }
                if self.namespaces.are_forbidden(why) {
                    self.exchange();
                    (self.swapped)(None);
                }
                self.unpark().await;
            }
        }
    }

    /// A namespace is gone, and with it what is known of its labels.
    fn namespace_gone(&mut self, name: &str) {
        self.selection.labelled(name, None);
        if self.namespaces.gone(name) {
            self.exchange();
        }
    }

    /// Begins to watch the labels of namespaces, unless they are watched.
    fn ask_for_namespaces(&mut self) {
        if self.namespaces.ask() {
            let watch = watching::namespaces(self.means.client.clone(), self.tell.clone());
            self.watches.spawn(watch);
        }
    }

    /// A namespace is looked after from now on, or no more: so are its plugins.
    fn selected_or_not(&mut self, namespace: &str) {
        let is_there = |id: &PluginId| id.namespace.as_deref() == Some(namespace);
        if self.selection.has(namespace) {
            info!(namespace, "looks after it from now on");
            let aside: Vec<_> = self.aside.extract_if(.., |id, _| is_there(id)).collect();
            aside.into_iter().for_each(|(_, resource)| self.seen(resource));
        } else {
            info!(namespace, "looks after it no more");
            let ids: Vec<_> = self.known.keys().filter(|id| is_there(id)).cloned().collect();
            for id in ids {
                if let Some(known) = self.known.get(&id) {
                    self.aside.insert(id.clone(), known.resource.clone());
                }
                self.forget(&id);
            }
        }
    }

    fn seen(&mut self, resource: Resource) {
        if !resource.scope.namespaces.selects_all() {
            self.ask_for_namespaces();
        }
        let id = resource.id.clone();
        if id
            .namespace
            .as_deref()
            .is_some_and(|namespace| !self.selection.has(namespace))
        {
            self.aside.insert(id, resource);
            return;
        }
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
                    let done = known.follow();
                    self.followed(&id, done);
                }
                return;
            }
            Some(known) => {
                let leads = self.leading.now();
                known.wants(resource, leads);
                if !leads {
                    let done = known.follow();
                    self.followed(&id, done);
                }
            }
            None => {
                self.known.insert(id.clone(), Known::new(resource));
            }
        }
        self.begin(&id);
    }

    /// Something was done with a plugin because who leads has done so.
    fn followed(&mut self, id: &PluginId, done: Follow) {
        match done {
            Follow::Stay => {}
            Follow::Exchanged | Follow::Load => {
                warn!(plugin = %id, "taken back, as the replica that leads has done");
                self.metrics.plugin_rolled_back();
                self.exchange();
                (self.swapped)(id.namespace.as_deref());
                if done == Follow::Load {
                    self.begin(id);
                }
            }
            Follow::Look => self.begin(id),
        }
    }

    fn gone(&mut self, id: &PluginId) {
        self.aside.remove(id);
        self.forget(id);
    }

    fn forget(&mut self, id: &PluginId) {
        let Some(known) = self.known.remove(id) else {
            return;
        };
        self.loads.forget(id);
        self.metrics.plugin_gone(&id.to_string());
        let is_beside = |other: &Known| other.resource.id.namespace == id.namespace;
        if !self.known.values().any(is_beside) && self.awaited.is_over() {
            self.clear_up();
        }
        // There may be room for another one.
        let waits = |other: &Known| other.failure().is_some_and(|failure| failure.reason == TOO_MANY);
        self.begin_where(|other| is_beside(other) && waits(other));
        if known.good.is_some() || known.was_in_force() {
            info!(plugin = %id, "gone: others decide in its place");
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
    }

    /// Begins all attempts whose time has come.
    fn begin_due(&mut self) {
        let now = Instant::now();
        self.begin_where(|known| known.due().is_some_and(|due| due <= now));
    }

    fn begin_where(&mut self, wanted: impl Fn(&Known) -> bool) {
        let wanted: Vec<_> = self
            .known
            .iter()
            .filter(|(_, known)| wanted(known))
            .map(|(id, _)| id.clone())
            .collect();
        wanted.iter().for_each(|id| self.begin(id));
    }

    /// Begins an attempt as soon as it is this one's turn.
    fn begin(&mut self, id: &PluginId) {
        if self.known.get_mut(id).is_some_and(Known::wait) {
            self.loads.wait(id.clone());
        }
        self.begin_next();
    }

    /// Begins the attempts whose turn it is.
    fn begin_next(&mut self) {
        while let Some(id) = self.loads.next() {
            let refused = quota::refuses(&self.known, &id);
            let Some(attempt) = self.known.get_mut(&id).and_then(Known::begin) else {
                self.loads.ended(&id);
                continue;
            };
            let attempt = Attempt { refused, ..attempt };
            self.attempts.spawn(attempt.make(self.means.clone()));
        }
    }

    /// An attempt has ended, and it is the next one's turn.
    async fn ended(&mut self, outcome: Outcome) {
        self.loads.ended(&outcome.id);
        self.came_of(outcome).await;
        self.begin_next();
    }

    /// Goes on with attempts that have ended before it was known which namespaces they concern.
    async fn unpark(&mut self) {
        for outcome in std::mem::take(&mut self.parked) {
            self.came_of(outcome).await;
        }
    }

    /// Puts in force what came of an attempt.
    async fn came_of(&mut self, mut outcome: Outcome) {
        let id = outcome.id.clone();
        let Some(known) = self
            .known
            .get_mut(&id)
            .filter(|known| known.resource.uid == outcome.uid)
        else {
            return;
        };
        if known.is_outdated(&outcome) {
            self.begin(&id);
            return;
        }
        if known.resource.scope.by_labels && self.namespaces.are_awaited() {
            self.parked.push(outcome);
            return;
        }
        if let Some(hindered) = self.namespaces.hinder(known) {
            outcome.good = None;
            outcome.failure = Some(hindered);
        }
        // A look at a source that holds nothing new loads nothing.
        let result = match (&outcome.failure, &outcome.good) {
            (Some(failure), _) => Some(failure.reason),
            (None, Some(_)) => Some("success"),
            (None, None) => None,
        };
        if let Some(result) = result {
            self.metrics.plugin_loaded(result);
        }
        let changed = known.ended(outcome);
        if changed {
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
        self.report(&id, changed).await;
        // It may have been taken back while it was loaded here.
        if !self.leading.now()
            && let Some(known) = self.known.get_mut(&id)
        {
            let done = known.follow_back();
            self.followed(&id, done);
        }
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
            self.metrics.plugin_rolled_back();
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
        );
        let before = &known.resource.status;
        let is_new = wanted.error != before.error || wanted.last_good != before.last_good;
        known.resource.status = report::write(&self.means.client, &known.resource, wanted).await;
        if is_new && !reason.is_empty() {
            report::tell(&self.means.client, &known.resource, type_, reason, &note).await;
        }
    }
}
