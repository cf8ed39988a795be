//! The loop: changes put Dask resources into the queue, and each that is due is
//! reconciled, several at a time, each by one.

mod lists;
mod passes;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_operator_core::backoff::Backoff;
use dask_operator_core::category::Retry;
use dask_operator_core::parent::{DaskKind, seed};
use futures::FutureExt;
use kube::Client;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info};

use crate::health::Health;
use crate::kinds::{Kind, Kinds};
use crate::kopf::Marked;
use crate::lease::{Lease, Lost};
use crate::metrics::Metrics;
use crate::object::Object;
use crate::queue::{Queue, Urgency};
use crate::reconcile::{Outcome, Reconciler, room};
use crate::routes::{ParentKey, Reason, concerned};
use crate::store::Change;
use crate::watches::{self, Watcher};
use lists::first_lists;
use passes::{COLLECT, COLLECT_STATUS, Passes};

/// What is said of a kind until its first list has come or failed.
const NOT_YET: &str = "the API server has not sent the whole list of them since the operator started";

/// How often it is looked for what was written and is not shown by a watch, and at how many objects of a kind at most.
const EXPIRY: Duration = Duration::from_secs(5);
const EXPIRY_MOST: usize = 20;

/// The first wait after a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The longest wait after a failure that passes by itself: who has waited for the API server
/// need not wait much longer once it is well again.
const PASSES: Duration = Duration::from_secs(15);

/// Why the operator ends by itself.
#[derive(Debug, Error)]
pub enum Ended {
    /// It leads no more.
    #[error(transparent)]
    Lost(Lost),
    /// What was to run for ever does not.
    #[error("a watch panicked; this is a bug: {0}")]
    Panicked(JoinError),
}

/// Watches, queue and reconciles.
pub struct Controller {
    reconciler: Reconciler,
    queue: Queue<ParentKey>,
    backoff: Mutex<Backoff<ParentKey>>,
    /// The last passes over each resource.
    passes: Mutex<HashMap<ParentKey, Passes>>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    marked: mpsc::UnboundedSender<Marked>,
    /// Resources whose Dask scheduler has said something new.
    news: Mutex<Option<mpsc::UnboundedReceiver<ParentKey>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Controller {
    /// A controller that has not begun yet. Objects with marks of the
    /// predecessor go to `marked`; `news` are resources whose Dask scheduler has
    /// said something new.
    #[must_use]
    pub fn new(
        reconciler: Reconciler,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        marked: mpsc::UnboundedSender<Marked>,
        news: mpsc::UnboundedReceiver<ParentKey>,
    ) -> Self {
        Self {
            reconciler,
            queue: Queue::default(),
            backoff: Mutex::new(Backoff::new(FIRST_WAIT)),
            passes: Mutex::default(),
            health,
            metrics,
            marked,
            news: Mutex::new(Some(news)),
        }
    }

    /// What is stuck.
    #[must_use]
    pub fn stuck(&self) -> Vec<String> {
        self.health.stuck(self.queue.backlog().1)
    }

    /// What is missing until it is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.health.missing()
    }

    /// All metrics, as text.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let leads = self.health.leads();
        // What waits where nobody reconciles says nothing.
        let (depth, longest) = if leads {
            self.queue.backlog()
        } else {
            Default::default()
        };
        self.metrics.leads(leads);
        self.metrics.queue(depth, longest);
        self.metrics.schedulers(self.reconciler.schedulers.count());
        for kind in self.reconciler.stores.kinds().iter() {
            if let Some(store) = self.reconciler.stores.of(&kind.resource) {
                let (objects, bytes) = store.size();
                self.metrics.stored(&kind.resource.kind, objects, bytes);
            }
        }
        self.metrics.text()
    }

    /// Watches all kinds in `namespaces` (empty for all) and, once it holds the
    /// `lease` if there is one, reconciles, up to `concurrency` resources at a time.
    /// Does so for ever.
    ///
    /// # Errors
    ///
    /// When the lease is lost, or something panicked that must not.
    pub async fn run(
        self: Arc<Self>,
        client: Client,
        namespaces: &[String],
        concurrency: usize,
        lease: Option<&Lease>,
    ) -> Result<Infallible, Ended> {
        let mut watches = JoinSet::new();
        let scopes: Vec<_> = match namespaces {
            [] => vec![None],
            namespaces => namespaces.iter().cloned().map(Some).collect(),
        };
        let kinds = self.reconciler.stores.kinds().clone();
        for kind in kinds.iter() {
            for namespace in &scopes {
                let namespace = namespace.as_deref();
                self.health
                    .expect_watch(&watch_name(kind, namespace), &kind.plural, namespace);
                if !kind.is_needed() {
                    let listings = self.reconciler.stores.listings();
                    listings.hindered(&kind.resource, namespace, NOT_YET.to_owned());
                }
            }
        }
        for kind in kinds.iter() {
            for namespace in &scopes {
                let (this, client, kind) = (self.clone(), client.clone(), kind.clone());
                let namespace = namespace.clone();
                watches.spawn(async move {
                    if let Some(store) = this.reconciler.stores.of(&kind.resource) {
                        watches::watch(client, kind.clone(), namespace, store, &*this).await;
                    }
                });
            }
        }
        let (this, asks, expired) = (self.clone(), client.clone(), kinds.clone());
        watches.spawn(async move {
            let mut ticks = tokio::time::interval(EXPIRY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                for kind in expired.iter() {
                    this.look_for_overdue(&asks, kind).await;
                }
            }
        });
        self.first_lists(&kinds, &scopes).await;
        info!("ready");
        if namespaces.is_empty() {
            let this = self.clone();
            watches.spawn(async move {
                let nodes = this.reconciler.stores.nodes();
                nodes.watch(client, |node| this.node_changed(node)).await;
            });
        }
        let news = lock(&self.news).take();
        let share = match namespaces {
            // There is nobody to share with.
            [_] => concurrency,
            _ => share(concurrency),
        };
        tokio::select! {
            ended = self.lead(concurrency, share, lease) => ended,
            error = first_panic(&mut watches) => Err(Ended::Panicked(error)),
            never = self.hear(news) => match never {},
        }
    }

    /// Waits for the first lists of all kinds.
    async fn first_lists(&self, kinds: &Kinds, scopes: &[Option<String>]) {
        let names = |needed: bool| {
            let wanted = kinds.iter().filter(move |kind| kind.is_needed() == needed);
            wanted
                .flat_map(|kind| {
                    scopes
                        .iter()
                        .map(move |namespace| watch_name(kind, namespace.as_deref()))
                })
                .collect::<Vec<_>>()
        };
        first_lists(&self.health, &names(true), &names(false)).await;
    }

    /// Looks for what was written and was not shown by a watch: it is gone, or the watch is in trouble, and to take the
    /// one for the other would end jobs that run.
    async fn look_for_overdue(&self, client: &Client, kind: &Kind) {
        let Some(store) = self.reconciler.stores.of(&kind.resource) else {
            return;
        };
        for object in store.overdue().into_iter().take(EXPIRY_MOST) {
            let change = match watches::look(client, kind, &object).await {
                Ok(Some(found)) => store.found(found),
                Ok(None) => store.gone(&object),
                Err(error) => {
                    debug!(kind = kind.resource.kind, "overdue {object:?}: {error}");
                    return;
                }
            };
            if let Some(change) = change {
                self.changed(kind, change);
            }
        }
    }

    /// Reconciles, once and as long as it holds the lease.
    async fn lead(
        self: &Arc<Self>,
        concurrency: usize,
        share: usize,
        lease: Option<&Lease>,
    ) -> Result<Infallible, Ended> {
        if let Some(lease) = lease {
            lease.acquire().await;
            self.look_for_all_marks();
        }
        self.health.reconciled();
        let lost = async {
            match lease {
                Some(lease) => lease.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            lost = lost => Err(Ended::Lost(lost)),
            never = self.clone().work(concurrency, share) => match never {},
        }
    }

    /// Who left its marks on an object is not here any more to take them off. Who does not lead does nothing about them, and
    /// keeps none for later: [`Controller::look_for_all_marks`] finds them.
    fn look_for_marks(&self, kind: &Kind, object: &Arc<Object>) {
        if object.has_kopf_marks && self.health.leads() && self.reconciler.selection.has(&object.namespace) {
            // Nobody listens any more when the operator ends.
            let _ = self.marked.send((kind.clone(), object.clone()));
        }
    }

    /// Looks for marks on all objects that were seen before this process led.
    fn look_for_all_marks(&self) {
        for kind in self.reconciler.stores.kinds().iter() {
            let store = self.reconciler.stores.of(&kind.resource);
            let marked = |object: &Object| object.has_kopf_marks;
            for object in store.iter().flat_map(|store| store.all_where(marked)) {
                self.look_for_marks(kind, &object);
            }
        }
    }

    /// Other components decide in a namespace now (none for all), or it is looked after from now on: all resources
    /// there are looked at again, those that wait after a failure too.
    pub fn swapped(&self, namespace: Option<&str>) {
        self.look_at_all(namespace, |dask, object| self.look_for_marks(dask, object));
    }

    /// Queues all resources in a namespace (none for all), after `see` has seen them.
    fn look_at_all(&self, namespace: Option<&str>, see: impl Fn(&Kind, &Arc<Object>)) {
        for kind in DaskKind::ALL {
            let dask = Kind::dask(kind);
            let store = self.reconciler.stores.of(&dask.resource);
            let concerned =
                |object: &Object| namespace.is_none_or(|namespace| *object.namespace == *namespace);
            for object in store.iter().flat_map(|store| store.all_where(concerned)) {
                see(&dask, &object);
                let key = ParentKey::new(kind, &object.namespace, &object.name);
                self.queue.add(key, Instant::now(), Urgency::Urgent);
            }
        }
    }

    /// The taints of a node have changed: whoever has workers there has to know.
    fn node_changed(&self, node: &str) {
        for pod in self.reconciler.stores.pods_on(node) {
            for (owner, name) in pod.dask_owners() {
                let key = ParentKey::new(owner, &pod.namespace, name);
                self.queue
                    .add(key, Instant::now() + COLLECT_STATUS, Urgency::Usual);
            }
        }
    }

    /// Queues resources whose Dask scheduler has said something new, for ever.
    async fn hear(&self, news: Option<mpsc::UnboundedReceiver<ParentKey>>) -> Infallible {
        if let Some(mut news) = news {
            while let Some(key) = news.recv().await {
                let wait = self.collect(&key, COLLECT_STATUS);
                self.queue.add(key, Instant::now() + wait, Urgency::Usual);
            }
        }
        std::future::pending().await
    }

    /// Reconciles what is due, for ever: so many resources at a time, of one namespace `share` at most.
    async fn work(self: Arc<Self>, concurrency: usize, share: usize) -> Infallible {
        let permits = Arc::new(Semaphore::new(concurrency));
        let mut sweep = Instant::now();
        loop {
            // The semaphore is never closed.
            let permit = permits.clone().acquire_owned().await;
            let key = self.queue.next(share).await;
            let this = self.clone();
            tokio::spawn(async move {
                this.one(key).await;
                drop(permit);
            });
            if sweep.elapsed() > Duration::from_secs(60) {
                self.reconciler.sweep();
                sweep = Instant::now();
            }
        }
    }

    /// Reconciles one resource and says when it comes again.
    async fn one(&self, key: ParentKey) {
        let start = Instant::now();
        let failures = lock(&self.backoff).failures(&key);
        let pass = std::panic::AssertUnwindSafe(self.reconciler.reconcile(&key, failures));
        let outcome = pass.catch_unwind().await.unwrap_or_else(|_| {
            error!(object = %key, "the reconcile panicked; this is a bug");
            Outcome::Failed(Retry::BackOff, None)
        });
        let duration = start.elapsed();
        self.health.reconciled();
        let failed = matches!(outcome, Outcome::Failed(..));
        if outcome != Outcome::NoRoom {
            self.metrics.reconciled(key.kind.kind(), !failed, duration);
            let mut passes = lock(&self.passes);
            let before = passes.remove(&key);
            if outcome != Outcome::Gone {
                passes.insert(key.clone(), Passes::and(before, duration));
            }
        }
        let again = match outcome {
            Outcome::Done(again) => {
                lock(&self.backoff).succeeded(&key);
                again
            }
            Outcome::NoRoom => Some(room::AGAIN),
            Outcome::Gone => {
                lock(&self.backoff).succeeded(&key);
                None
            }
            Outcome::Failed(retry, again) => {
                let most = match retry {
                    Retry::Soon | Retry::Passing => PASSES,
                    Retry::After(_) | Retry::BackOff | Retry::OnChange => LONGEST_WAIT,
                };
                let grown = lock(&self.backoff).failed(key.clone(), seed(&key.to_string()), most);
                let wait = wait(retry, grown, again);
                debug!(object = %key, ?wait, "comes again");
                Some(wait)
            }
        };
        self.queue
            .done(key, again.map(|wait| Instant::now() + wait), failed);
    }

    /// How long changes that concern `key` are collected, `least` at the least.
    fn collect(&self, key: &ParentKey, least: Duration) -> Duration {
        lock(&self.passes)
            .get(key)
            .map_or(least, |passes| passes.collect(least))
    }
}

/// How many of `concurrency` reconciles may be of one namespace: a pass over a large resource takes long, and somebody has to
/// be left for the others.
fn share(concurrency: usize) -> usize {
    concurrency.saturating_sub(concurrency.div_ceil(4)).max(1)
}

/// How long to wait after a failure that is to be tried again like this. `grown` is the wait that grows, `again` when the
/// plan wants to be asked again.
fn wait(retry: Retry, grown: Duration, again: Option<Duration>) -> Duration {
    // What the plan waits for, a job's deadline say, comes all the same, but what fails is not tried each time.
    match retry {
        Retry::Soon | Retry::Passing => grown,
        Retry::After(wait) => grown.max(wait),
        Retry::BackOff => again.map_or(grown, |again| grown.min(again.max(PASSES))),
        Retry::OnChange => again.unwrap_or(LONGEST_WAIT).max(grown).min(LONGEST_WAIT),
    }
}

/// Waits until one of the tasks has panicked.
async fn first_panic(tasks: &mut JoinSet<()>) -> JoinError {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            return error;
        }
    }
    std::future::pending().await
}

fn watch_name(kind: &Kind, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("{} in {namespace}", kind.plural),
        None => kind.plural.clone(),
    }
}

impl Watcher for Controller {
    fn changed(&self, kind: &Kind, change: Change) {
        match &change.after {
            Some(object) => self.look_for_marks(kind, object),
            None => change
                .before
                .iter()
                .for_each(|gone| self.reconciler.forget(&gone.uid)),
        }
        if let Some(cluster) = [&change.after, &change.before]
            .into_iter()
            .flatten()
            .find_map(|object| object.scheduler_of())
        {
            self.reconciler.schedulers.look(&cluster);
        }
        for (key, reason) in concerned(kind, &change, &self.reconciler.stores) {
            let (wait, urgency) = match reason {
                Reason::Itself(Urgency::Urgent) | Reason::Dependency(Urgency::Urgent) => {
                    (Duration::ZERO, Urgency::Urgent)
                }
                Reason::Itself(Urgency::Usual) => (self.collect(&key, COLLECT_STATUS), Urgency::Usual),
                Reason::Dependency(Urgency::Usual) => (self.collect(&key, COLLECT), Urgency::Usual),
            };
            self.queue.add(key, Instant::now() + wait, urgency);
        }
    }

    fn synced(&self, kind: &Kind, namespace: Option<&str>) {
        if self.reconciler.stores.listings().known(&kind.resource, namespace) {
            debug!(kind = kind.resource.kind, namespace, "is listed");
            self.look_at_all(namespace, |_, _| {});
        }
        self.health.synced(&watch_name(kind, namespace));
    }

    fn refused(&self, kind: &Kind, namespace: Option<&str>, why: Option<String>) {
        let listings = self.reconciler.stores.listings();
        let is_news = match why {
            Some(why) => listings.hindered(&kind.resource, namespace, why),
            None => listings.known(&kind.resource, namespace),
        };
        if is_news {
            self.look_at_all(namespace, |_, _| {});
        }
        self.health.do_without(&watch_name(kind, namespace));
    }

    fn delayed(&self, kind: &Kind, namespace: Option<&str>, why: String) {
        let listings = self.reconciler.stores.listings();
        // Once it is done without, each resource that needs it says why, and would be written anew for each other error.
        let is_awaited = !self.health.are_synced(&[watch_name(kind, namespace)]);
        let is_unsaid = || listings.said(&kind.resource, namespace).as_deref() == Some(NOT_YET);
        if is_awaited || is_unsaid() {
            listings.hindered(&kind.resource, namespace, why);
        }
    }

    fn failed(&self, kind: &Kind) {
        self.metrics.watch_failed(&kind.resource.kind);
    }
}

#[cfg(test)]
mod tests;
