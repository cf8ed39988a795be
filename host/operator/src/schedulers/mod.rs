//! Polling of the Dask schedulers that plans request facts from.
//!
//! Does I/O in [`client`], which connects to schedulers, and in [`poll`], which runs a task for each of them. [`endpoint`],
//! [`answer_budget`] and [`rate_limit`] are pure.
//!
//! Each scheduler is polled in its own task, so that a slow or dead one never delays a reconcile: the last answer enters the next
//! observation. A scheduler is polled as long as the last plan of some resource requests it ([`Schedulers::subscribe`]), over
//! one connection for all these resources.

mod answer_budget;
mod client;
mod endpoint;
pub(crate) mod metrics;
mod poll;
mod rate_limit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::plan::{SchedulerQuestion, SchedulerRequest};
use dask_operator_runtime::contract::{SchedulerFacts, SchedulerState, SchedulerWorker};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc};

#[cfg(test)]
pub(crate) use client::{Failure, Session};
pub(crate) use client::{NetworkClient, SchedulerClient};
pub(crate) use endpoint::Endpoint;

use crate::cache::Stores;
use crate::key::{ClusterKey, ParentKey};
use answer_budget::AnswerBudget;
use metrics::SchedulerMetrics;
use rate_limit::RateLimiter;

/// Number of schedulers that are queried at the same time.
const AT_ONCE: usize = 64;

/// Minimum time between the starts of two queries to any schedulers: at most 500
/// queries per second.
const QUERY_INTERVAL: Duration = Duration::from_millis(2);

/// One query to a scheduler, which combines the requests of all resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Questions {
    /// Query the time since which the scheduler is idle.
    pub(crate) idle: bool,
    /// Query the number of workers that the scheduler could use, for each of these target
    /// durations in milliseconds. `None` stands for the scheduler's own setting.
    pub(crate) demand: BTreeSet<Option<u64>>,
}

/// The answers of a scheduler to one query.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answers {
    /// Time of the query, in milliseconds since 1970.
    pub(crate) queried_at: i64,
    /// All workers that are registered with the scheduler.
    pub(crate) workers: Vec<SchedulerWorker>,
    /// Number of workers that the scheduler could use, by target duration in milliseconds.
    pub(crate) demand: BTreeMap<Option<u64>, u32>,
    /// Time since which the scheduler is idle, in milliseconds since 1970. `None` if it is busy or was not queried for this.
    pub(crate) idle_since: Option<i64>,
}

impl Answers {
    /// Returns whether these answers lead to the same plans as `other`.
    ///
    /// The busy state of a worker matters only if the query included the demand. A worker's heartbeat is up to half a second
    /// older than the demand, so a plan may see no demand and workers that are still busy, and must be computed again when
    /// they are idle. The number of tasks of a worker is ignored, because it changes with each answer.
    fn is_equivalent(&self, other: &Self) -> bool {
        fn matters(worker: &SchedulerWorker, has_demand: bool) -> (&str, &str, &str, bool) {
            let is_busy = has_demand && worker.processing > 0;
            (&worker.address, &worker.name, &worker.status, is_busy)
        }
        let has_demand = !self.demand.is_empty();
        let workers = self.workers.iter().map(|worker| matters(worker, has_demand));
        let others = other.workers.iter().map(|worker| matters(worker, has_demand));
        self.demand == other.demand && self.idle_since == other.idle_since && workers.eq(others)
    }

    /// Returns the approximate number of bytes that these answers take in memory.
    fn bytes(&self) -> usize {
        let texts = |worker: &SchedulerWorker| worker.address.len() + worker.name.len() + worker.status.len();
        let workers: usize = self.workers.iter().map(texts).sum();
        workers + self.workers.len() * size_of::<SchedulerWorker>()
    }
}

/// Result of the last query to a scheduler.
#[derive(Debug, Default)]
enum LastResult {
    /// No query has ended yet.
    #[default]
    Pending,
    /// The query failed with this message.
    Failed(String),
    Answered(Arc<Answers>),
}

/// Request of one resource for facts from a scheduler.
#[derive(Debug)]
struct Subscription {
    request: SchedulerRequest,
    /// The [`PolledScheduler::version`] that the resource was last notified of or read.
    delivered: Option<u64>,
}

/// A scheduler that is polled.
#[derive(Debug)]
struct PolledScheduler {
    subscriptions: HashMap<ParentKey, Subscription>,
    last_result: LastResult,
    /// Time of the first answer after a failure or the start, in milliseconds since 1970.
    answers_since: i64,
    /// Version of the result, increased with each change that can lead to another plan.
    version: u64,
    /// Ends the wait until the next query.
    wake: Arc<Notify>,
    /// Addresses of workers that are being retired.
    retiring: BTreeSet<String>,
    /// Addresses of workers that were retired and that the scheduler still lists. Observations leave them out.
    retired: BTreeSet<String>,
}

impl PolledScheduler {
    /// Requeues the resources that have not received the current version.
    fn notify(&mut self, requeue: &mpsc::UnboundedSender<ParentKey>) {
        for (parent, subscription) in &mut self.subscriptions {
            if subscription.delivered != Some(self.version) {
                subscription.delivered = Some(self.version);
                // The receiver is dropped on shutdown.
                let _ = requeue.send(parent.clone());
            }
        }
    }
}

/// All schedulers that are polled. Clones share the same state.
#[derive(Clone)]
pub(crate) struct Schedulers(Arc<Inner>);

struct Inner {
    client: Box<dyn SchedulerClient>,
    stores: Stores,
    metrics: SchedulerMetrics,
    permits: Semaphore,
    rate_limiter: RateLimiter,
    /// Resources to reconcile, because an answer has changed.
    requeue: mpsc::UnboundedSender<ParentKey>,
    polled: Mutex<HashMap<ClusterKey, PolledScheduler>>,
    /// Must be locked after `polled` if both are locked.
    budget: Mutex<AnswerBudget>,
}

impl Schedulers {
    /// Creates an empty set of schedulers. They are found in `stores` and queried through `client`. The resources to
    /// reconcile because of an answer are sent to `requeue`.
    #[must_use]
    pub(crate) fn new(
        client: Box<dyn SchedulerClient>,
        stores: Stores,
        metrics: SchedulerMetrics,
        requeue: mpsc::UnboundedSender<ParentKey>,
    ) -> Self {
        Self(Arc::new(Inner {
            client,
            stores,
            metrics,
            permits: Semaphore::new(AT_ONCE),
            rate_limiter: RateLimiter::new(QUERY_INTERVAL),
            requeue,
            polled: Mutex::default(),
            budget: Mutex::default(),
        }))
    }

    /// Returns the last facts of the scheduler of `cluster`, as requested by the last plan of `parent`.
    #[must_use]
    pub(crate) fn state(&self, cluster: &ClusterKey, parent: &ParentKey) -> SchedulerState {
        let mut all = self.0.polled.lock();
        let Some(scheduler) = all.get_mut(cluster) else {
            return SchedulerState::NotAsked;
        };
        let version = scheduler.version;
        let Some(subscription) = scheduler.subscriptions.get_mut(parent) else {
            return SchedulerState::NotAsked;
        };
        subscription.delivered = Some(version);
        let target_duration = subscription.request.target_duration;
        let answers = match &scheduler.last_result {
            LastResult::Pending => return SchedulerState::NotAsked,
            LastResult::Failed(message) => return SchedulerState::Unreachable(message.clone()),
            LastResult::Answered(answers) => answers.clone(),
        };
        let (answers_since, retired) = (scheduler.answers_since, scheduler.retired.clone());
        // All other callers wait for the lock, and there may be thousands of workers to copy.
        drop(all);
        SchedulerState::Facts(SchedulerFacts {
            observed_at: answers.queried_at,
            answers_since,
            workers: answers
                .workers
                .iter()
                .filter(|worker| !retired.contains(&worker.address))
                .cloned()
                .collect(),
            desired_workers: answers.demand.get(&target_duration).copied(),
            idle_since: answers.idle_since,
        })
    }

    /// Replaces the request of `parent` to the scheduler of `cluster`. `None` removes it.
    pub(crate) fn subscribe(
        &self,
        cluster: &ClusterKey,
        parent: &ParentKey,
        request: Option<SchedulerRequest>,
    ) {
        let Some(request) = request else {
            if let Some(scheduler) = self.0.polled.lock().get_mut(cluster)
                && scheduler.subscriptions.remove(parent).is_some()
            {
                scheduler.wake.notify_one();
            }
            return;
        };
        let mut all = self.0.polled.lock();
        let is_new = !all.contains_key(cluster);
        let scheduler = all.entry(cluster.clone()).or_insert_with(|| PolledScheduler {
            subscriptions: HashMap::new(),
            last_result: LastResult::default(),
            answers_since: 0,
            version: 0,
            wake: Arc::default(),
            retiring: BTreeSet::new(),
            retired: BTreeSet::new(),
        });
        let retire: Vec<String> = request
            .retire
            .iter()
            .filter(|address| !scheduler.retiring.contains(*address) && !scheduler.retired.contains(*address))
            .cloned()
            .collect();
        scheduler.retiring.extend(retire.iter().cloned());
        let tls = request.tls;
        let before = scheduler.subscriptions.remove(parent);
        let wants_more = before.as_ref().is_none_or(|before| {
            (
                &before.request.questions,
                before.request.target_duration,
                before.request.tls,
            ) != (&request.questions, request.target_duration, request.tls)
                || before.request.period > request.period
        });
        let delivered = before.and_then(|before| before.delivered);
        scheduler
            .subscriptions
            .insert(parent.clone(), Subscription { request, delivered });
        if is_new {
            let poll = poll::poll(self.0.clone(), cluster.clone(), scheduler.wake.clone());
            tokio::spawn(poll);
        } else if wants_more {
            scheduler.wake.notify_one();
        }
        drop(all);
        if !retire.is_empty() {
            tokio::spawn(poll::retire(self.0.clone(), cluster.clone(), tls, retire));
        }
    }

    /// Removes all requests of `parent`, which was deleted.
    pub(crate) fn unsubscribe(&self, parent: &ParentKey) {
        for scheduler in self.0.polled.lock().values_mut() {
            if scheduler.subscriptions.remove(parent).is_some() {
                scheduler.wake.notify_one();
            }
        }
    }

    /// Queries the scheduler of `cluster` soon, because one of its objects has changed. Has no effect if it is not polled.
    pub(crate) fn refresh(&self, cluster: &ClusterKey) {
        if let Some(scheduler) = self.0.polled.lock().get(cluster) {
            scheduler.wake.notify_one();
        }
    }

    /// Returns the number of schedulers that are polled.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.0.polled.lock().len()
    }

    /// Updates the metrics that show the present state.
    pub(crate) fn update_metrics(&self) {
        self.0.metrics.polled(self.count());
    }
}

/// Returns the query that combines all requests to a scheduler, whether it uses TLS, and the shortest period.
/// `None` if there are no requests.
fn combined_query(scheduler: &PolledScheduler) -> Option<(Questions, bool, Duration)> {
    let mut questions = Questions::default();
    let mut period = None;
    let mut tls = false;
    for Subscription { request, .. } in scheduler.subscriptions.values() {
        tls |= request.tls;
        period = Some(period.map_or(request.period, |period: u64| period.min(request.period)));
        for question in &request.questions {
            match question {
                SchedulerQuestion::Workers => {}
                SchedulerQuestion::Demand => {
                    questions.demand.insert(request.target_duration);
                }
                SchedulerQuestion::Idle => questions.idle = true,
            }
        }
    }
    period.map(|period| (questions, tls, Duration::from_millis(period)))
}

#[cfg(test)]
mod tests;
