//! Reconcile loop: changes put Dask resources into the work queue, and each resource that is due is reconciled. Several
//! resources are reconciled at the same time, each of them by one task.

mod debounce;
mod lists;
pub(crate) mod metrics;
pub(crate) mod probes;
pub(crate) mod queue;
pub(crate) mod triggers;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::api_error::RetryPolicy;
use dask_operator_core::backoff::Backoffs;
use dask_operator_core::parent::{DaskKind, seed};
use futures::FutureExt;
use kube::Client;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info};

use crate::cache::store::ObjectChange;
use crate::cache::watch::{self, Watcher};
use crate::client::object::Object;
use crate::client::resource::{ResourceType, ResourceTypes};
use crate::controller::metrics::ControllerMetrics;
use crate::controller::queue::{Priority, WorkQueue};
use crate::controller::triggers::{Trigger, reconcile_requests};
use crate::health::Health;
use crate::key::ParentKey;
use crate::leader_election::{LeadershipLost, Lease};
use crate::reconcile::kopf::KopfLeftover;
use crate::reconcile::{Outcome, Reconciler, memory_budget};
use debounce::{BATCH, BATCH_STATUS, RecentReconciles};
use lists::first_lists;

/// Reason that is recorded for a kind until its first list was received or failed.
const NOT_YET: &str = "the API server has not sent the whole list of them since the operator started";

/// Interval of the search for written objects that no watch has shown, and the maximum number of objects of a kind that
/// each search checks.
const OVERDUE_INTERVAL: Duration = Duration::from_secs(5);
const OVERDUE_MAX: usize = 20;

/// First and longest delay before a failed resource is retried.
const INITIAL_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Longest delay after a transient failure: once the API server is available again, resources must not wait much
/// longer.
const MAX_TRANSIENT_WAIT: Duration = Duration::from_secs(15);

/// Reason why the operator ends without a signal.
#[derive(Debug, Error)]
pub(crate) enum StopReason {
    /// Leadership was lost.
    #[error(transparent)]
    Lost(LeadershipLost),
    /// A task that must run until the process exits has panicked.
    #[error("a watch panicked; this is a bug: {0}")]
    Panicked(JoinError),
}

/// Owns the watches, the work queue and the reconciles.
pub(crate) struct Controller {
    reconciler: Reconciler,
    queue: WorkQueue<ParentKey>,
    backoff: Mutex<Backoffs<ParentKey>>,
    /// The recent reconciles of each resource.
    recent: Mutex<HashMap<ParentKey, RecentReconciles>>,
    health: Arc<Health>,
    metrics: ControllerMetrics,
    marked: mpsc::UnboundedSender<KopfLeftover>,
    /// Receives the resources whose Dask scheduler reported a change.
    news: Mutex<Option<mpsc::UnboundedReceiver<ParentKey>>>,
}

impl Controller {
    /// Returns a controller that has not started yet. Objects with marks of the previous operator are sent to `marked`.
    /// `news` receives the resources whose Dask scheduler reported a change.
    #[must_use]
    pub(crate) fn new(
        reconciler: Reconciler,
        health: Arc<Health>,
        metrics: ControllerMetrics,
        marked: mpsc::UnboundedSender<KopfLeftover>,
        news: mpsc::UnboundedReceiver<ParentKey>,
    ) -> Self {
        Self {
            reconciler,
            queue: WorkQueue::default(),
            backoff: Mutex::new(Backoffs::new(INITIAL_WAIT)),
            recent: Mutex::default(),
            health,
            metrics,
            marked,
            news: Mutex::new(Some(news)),
        }
    }

    /// Returns descriptions of the parts that are stuck.
    #[must_use]
    pub(crate) fn stuck(&self) -> Vec<String> {
        self.health.stuck(self.queue.backlog().1)
    }

    /// Returns descriptions of the parts that are not ready.
    #[must_use]
    pub(crate) fn missing(&self) -> Vec<String> {
        self.health.missing()
    }

    /// Updates the metrics that show the present state.
    pub(crate) fn update_metrics(&self) {
        let leads = self.health.leads();
        // The backlog of a replica that does not lead has no meaning.
        let (depth, longest) = if leads {
            self.queue.backlog()
        } else {
            Default::default()
        };
        self.metrics.leader_election.leads(leads);
        self.metrics.queue.backlog(depth, longest);
        self.reconciler.schedulers.update_metrics();
        for kind in self.reconciler.stores.kinds().iter() {
            if let Some(store) = self.reconciler.stores.of(&kind.resource) {
                let (objects, bytes) = store.size();
                self.metrics.cache.stored(&kind.resource.kind, objects, bytes);
            }
        }
    }

    /// Watches all kinds in `namespaces` (empty for all). After it has acquired the `lease`, if there is one, it
    /// reconciles up to `concurrency` resources at the same time. Runs until the process exits.
    ///
    /// # Errors
    ///
    /// Returns an error if the lease is lost, or if a task panicked.
    pub(crate) async fn run(
        self: Arc<Self>,
        client: Client,
        namespaces: &[String],
        concurrency: usize,
        lease: Option<&Lease>,
    ) -> Result<Infallible, StopReason> {
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
                    listings.set_unlisted(&kind.resource, namespace, NOT_YET.to_owned());
                }
            }
        }
        for kind in kinds.iter() {
            for namespace in &scopes {
                let (this, client, kind) = (self.clone(), client.clone(), kind.clone());
                let namespace = namespace.clone();
                watches.spawn(async move {
                    if let Some(store) = this.reconciler.stores.of(&kind.resource) {
                        watch::watch(client, kind.clone(), namespace, store, &*this).await;
                    }
                });
            }
        }
        let (this, lookups, expired) = (self.clone(), client.clone(), kinds.clone());
        watches.spawn(async move {
            let mut ticks = tokio::time::interval(OVERDUE_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                for kind in expired.iter() {
                    this.check_overdue(&lookups, kind).await;
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
        let news = self.news.lock().take();
        let share = match namespaces {
            // There is only one namespace.
            [_] => concurrency,
            _ => share(concurrency),
        };
        tokio::select! {
            ended = self.lead(concurrency, share, lease) => ended,
            error = first_panic(&mut watches) => Err(StopReason::Panicked(error)),
            never = self.requeue_for_schedulers(news) => match never {},
        }
    }

    /// Waits for the first lists of all kinds.
    async fn first_lists(&self, kinds: &ResourceTypes, scopes: &[Option<String>]) {
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

    /// Gets written objects that no watch has shown. Such an object is deleted, or the watch does not work. Confusing
    /// the two would end running jobs.
    async fn check_overdue(&self, client: &Client, kind: &ResourceType) {
        let Some(store) = self.reconciler.stores.of(&kind.resource) else {
            return;
        };
        for object in store.overdue().into_iter().take(OVERDUE_MAX) {
            let change = match watch::find(client, kind, &object).await {
                Ok(Some(found)) => store.apply_lookup(found),
                Ok(None) => store.remove(&object),
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

    /// Acquires the lease, and reconciles as long as it is held.
    async fn lead(
        self: &Arc<Self>,
        concurrency: usize,
        share: usize,
        lease: Option<&Lease>,
    ) -> Result<Infallible, StopReason> {
        if let Some(lease) = lease {
            lease.acquire().await;
            self.send_all_marked();
        }
        self.health.reconciled();
        let lost = async {
            match lease {
                Some(lease) => lease.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            lost = lost => Err(StopReason::Lost(lost)),
            never = self.clone().work(concurrency, share) => match never {},
        }
    }

    /// Sends an object with marks of the previous operator to the task that removes them. A replica that does not lead
    /// ignores the marks and does not store them: [`Controller::send_all_marked`] finds them later.
    fn send_if_marked(&self, kind: &ResourceType, object: &Arc<Object>) {
        if object.has_kopf_marks && self.health.leads() && self.reconciler.selection.has(&object.namespace) {
            // The receiver is dropped on shutdown.
            let _ = self.marked.send((kind.clone(), object.clone()));
        }
    }

    /// Sends all objects with marks that were seen before this process became the leader.
    fn send_all_marked(&self) {
        for kind in self.reconciler.stores.kinds().iter() {
            let store = self.reconciler.stores.of(&kind.resource);
            let marked = |object: &Object| object.has_kopf_marks;
            for object in store.iter().flat_map(|store| store.all_where(marked)) {
                self.send_if_marked(kind, &object);
            }
        }
    }

    /// Requeues all resources in a namespace (`None` for all), also those in back-off, because their plugins have
    /// changed or because the namespace is managed from now on.
    pub(crate) fn swapped(&self, namespace: Option<&str>) {
        self.requeue_all(namespace, |dask, object| self.send_if_marked(dask, object));
    }

    /// Queues all resources in a namespace (`None` for all), and calls `see` for each of them before.
    fn requeue_all(&self, namespace: Option<&str>, see: impl Fn(&ResourceType, &Arc<Object>)) {
        for kind in DaskKind::ALL {
            let dask = ResourceType::dask(kind);
            let store = self.reconciler.stores.of(&dask.resource);
            let concerned =
                |object: &Object| namespace.is_none_or(|namespace| *object.namespace == *namespace);
            for object in store.iter().flat_map(|store| store.all_where(concerned)) {
                see(&dask, &object);
                let key = ParentKey::new(kind, &object.namespace, &object.name);
                self.queue.add(key, Instant::now(), Priority::Urgent);
            }
        }
    }

    /// Queues the owners of the pods on a node whose taints have changed.
    fn node_changed(&self, node: &str) {
        for pod in self.reconciler.stores.pods_on(node) {
            for (owner, name) in pod.dask_owners() {
                let key = ParentKey::new(owner, &pod.namespace, name);
                self.queue
                    .add(key, Instant::now() + BATCH_STATUS, Priority::Usual);
            }
        }
    }

    /// Queues resources whose Dask scheduler reported a change. Runs until the process exits.
    async fn requeue_for_schedulers(&self, news: Option<mpsc::UnboundedReceiver<ParentKey>>) -> Infallible {
        if let Some(mut news) = news {
            while let Some(key) = news.recv().await {
                let wait = self.batch_delay(&key, BATCH_STATUS);
                self.queue.add(key, Instant::now() + wait, Priority::Usual);
            }
        }
        std::future::pending().await
    }

    /// Reconciles the resources that are due, up to `concurrency` at the same time and up to `share` of one namespace.
    /// Runs until the process exits.
    async fn work(self: Arc<Self>, concurrency: usize, share: usize) -> Infallible {
        let permits = Arc::new(Semaphore::new(concurrency));
        let mut sweep = Instant::now();
        loop {
            // The semaphore is never closed.
            let permit = permits.clone().acquire_owned().await;
            let key = self.queue.next(share).await;
            let this = self.clone();
            tokio::spawn(async move {
                this.reconcile_one(key).await;
                drop(permit);
            });
            if sweep.elapsed() > Duration::from_secs(60) {
                self.reconciler.sweep();
                sweep = Instant::now();
            }
        }
    }

    /// Reconciles one resource and requeues it.
    async fn reconcile_one(&self, key: ParentKey) {
        let start = Instant::now();
        let failures = self.backoff.lock().failures(&key);
        let reconcile = std::panic::AssertUnwindSafe(self.reconciler.reconcile(&key, failures));
        let outcome = reconcile.catch_unwind().await.unwrap_or_else(|_| {
            error!(object = %key, "the reconcile panicked; this is a bug");
            Outcome::Failed(RetryPolicy::BackOff, None)
        });
        let duration = start.elapsed();
        self.health.reconciled();
        let failed = matches!(outcome, Outcome::Failed(..));
        if outcome != Outcome::OverBudget {
            self.reconciler
                .metrics
                .reconciled(key.kind.kind(), !failed, duration);
            let mut recent = self.recent.lock();
            let before = recent.remove(&key);
            if outcome != Outcome::Gone {
                recent.insert(key.clone(), RecentReconciles::and_one_more(before, duration));
            }
        }
        let again = match outcome {
            Outcome::Done(again) => {
                self.backoff.lock().succeeded(&key);
                again
            }
            Outcome::OverBudget => Some(memory_budget::RETRY_DELAY),
            Outcome::Gone => {
                self.backoff.lock().succeeded(&key);
                None
            }
            Outcome::Failed(retry, again) => {
                let most = match retry {
                    RetryPolicy::Soon | RetryPolicy::Passing => MAX_TRANSIENT_WAIT,
                    RetryPolicy::After(_) | RetryPolicy::BackOff | RetryPolicy::OnChange => MAX_WAIT,
                };
                let grown = self
                    .backoff
                    .lock()
                    .failed(key.clone(), seed(&key.to_string()), most);
                let wait = wait(retry, grown, again);
                debug!(object = %key, ?wait, "requeued");
                Some(wait)
            }
        };
        self.queue
            .done(key, again.map(|wait| Instant::now() + wait), failed);
    }

    /// Returns the time for which changes that affect `key` are batched, `least` at the minimum.
    fn batch_delay(&self, key: &ParentKey, least: Duration) -> Duration {
        self.recent
            .lock()
            .get(key)
            .map_or(least, |recent| recent.batch_delay(least))
    }
}

/// Returns the maximum number of the `concurrency` concurrent reconciles that may belong to one namespace. A reconcile
/// of a large resource takes long, and other namespaces must not wait for it.
fn share(concurrency: usize) -> usize {
    concurrency.saturating_sub(concurrency.div_ceil(4)).max(1)
}

/// Returns the delay before a failed resource is retried. `grown` is the exponential back-off, `again` the requeue
/// delay that the plan requested.
fn wait(retry: RetryPolicy, grown: Duration, again: Option<Duration>) -> Duration {
    // A requeue that the plan requested, for a job's deadline say, takes place although the resource fails. It does not
    // cause a retry each time: it shortens the back-off to no less than [`MAX_TRANSIENT_WAIT`], and the wait for a
    // change to no less than the back-off.
    match retry {
        RetryPolicy::Soon | RetryPolicy::Passing => grown,
        RetryPolicy::After(wait) => grown.max(wait),
        RetryPolicy::BackOff => again.map_or(grown, |again| grown.min(again.max(MAX_TRANSIENT_WAIT))),
        RetryPolicy::OnChange => again.unwrap_or(MAX_WAIT).max(grown).min(MAX_WAIT),
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

fn watch_name(kind: &ResourceType, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("{} in {namespace}", kind.plural),
        None => kind.plural.clone(),
    }
}

impl Watcher for Controller {
    fn changed(&self, kind: &ResourceType, change: ObjectChange) {
        match &change.after {
            Some(object) => self.send_if_marked(kind, object),
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
            self.reconciler.schedulers.refresh(&cluster);
        }
        for (key, trigger) in reconcile_requests(kind, &change, &self.reconciler.stores) {
            let (wait, priority) = match trigger {
                Trigger::Itself(Priority::Urgent) | Trigger::Dependency(Priority::Urgent) => {
                    (Duration::ZERO, Priority::Urgent)
                }
                Trigger::Itself(Priority::Usual) => (self.batch_delay(&key, BATCH_STATUS), Priority::Usual),
                Trigger::Dependency(Priority::Usual) => (self.batch_delay(&key, BATCH), Priority::Usual),
            };
            self.queue.add(key, Instant::now() + wait, priority);
        }
    }

    fn synced(&self, kind: &ResourceType, namespace: Option<&str>) {
        if self
            .reconciler
            .stores
            .listings()
            .set_listed(&kind.resource, namespace)
        {
            debug!(kind = kind.resource.kind, namespace, "listed");
            self.requeue_all(namespace, |_, _| {});
        }
        self.health.synced(&watch_name(kind, namespace));
    }

    fn refused(&self, kind: &ResourceType, namespace: Option<&str>, why: Option<String>) {
        let listings = self.reconciler.stores.listings();
        let is_news = match why {
            Some(why) => listings.set_unlisted(&kind.resource, namespace, why),
            None => listings.set_listed(&kind.resource, namespace),
        };
        if is_news {
            self.requeue_all(namespace, |_, _| {});
        }
        self.health.do_without(&watch_name(kind, namespace));
    }

    fn delayed(&self, kind: &ResourceType, namespace: Option<&str>, why: String) {
        let listings = self.reconciler.stores.listings();
        // After the operator has stopped waiting for the list, each resource that needs the kind has the reason in its
        // status, and a different error each time would write all of these again.
        let is_awaited = !self.health.are_synced(&[watch_name(kind, namespace)]);
        let has_no_error = || listings.recorded_reason(&kind.resource, namespace).as_deref() == Some(NOT_YET);
        if is_awaited || has_no_error() {
            listings.set_unlisted(&kind.resource, namespace, why);
        }
    }

    fn failed(&self, kind: &ResourceType) {
        self.metrics.cache.watch_failed(&kind.resource.kind);
    }
}

#[cfg(test)]
mod tests;
