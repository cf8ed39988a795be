//! The Dask schedulers that plans want to know something of.
//!
//! A scheduler is asked in a task of its own, so that one that is slow or dead
//! never holds up a reconcile: what it said last enters the next observation. It
//! is asked for as long as the last plan of some resource says so
//! ([`Schedulers::want`]), by one connection for all who want to know.

mod dask;
mod kept;
mod pace;
mod place;
mod poll;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_operator_core::plan::{SchedulerQuestion, SchedulerRequest};
use dask_operator_runtime::contract::{SchedulerFacts, SchedulerState, SchedulerWorker};
use tokio::sync::{Notify, Semaphore, mpsc};

pub use dask::{Dask, Failure, Network, Talk};
pub use place::Place;

use crate::metrics::Metrics;
use crate::routes::ParentKey;
use crate::stores::Stores;
use kept::Kept;
use pace::Pace;

/// Schedulers that may be asked at the same time.
const AT_ONCE: usize = 64;

/// The shortest time from one question to the next, whoever it is for: at most
/// 500 schedulers are asked in a second.
const APART: Duration = Duration::from_millis(2);

/// A Dask cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterKey {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

impl ClusterKey {
    /// The cluster `name` in `namespace`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is asked of one scheduler in one go, for all who want to know something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Since when it has had nothing to do.
    pub idle: bool,
    /// How many workers it could use, for these target durations in milliseconds
    /// (none for its own).
    pub demand: BTreeSet<Option<u64>>,
}

/// What a scheduler answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// When it was asked, in milliseconds since 1970.
    pub asked_at: i64,
    /// All registered workers.
    pub workers: Vec<SchedulerWorker>,
    /// How many workers it could use, by target duration.
    pub demand: BTreeMap<Option<u64>, u32>,
    /// Since when it has had nothing to do, in milliseconds since 1970.
    pub idle_since: Option<i64>,
}

impl Answers {
    /// Returns whether no plan can differ because of these answers instead of `other`.
    ///
    /// Who is busy counts only where the demand was asked for: a worker's heartbeat is up to half a second older than the
    /// demand, so a plan may see no demand and workers that are still busy, and must be made again when they no longer
    /// are. How much a worker has to do never counts: it changes with each answer.
    fn say_the_same(&self, other: &Self) -> bool {
        fn matters(worker: &SchedulerWorker, asks_demand: bool) -> (&str, &str, &str, bool) {
            let is_busy = asks_demand && worker.processing > 0;
            (&worker.address, &worker.name, &worker.status, is_busy)
        }
        let asks_demand = !self.demand.is_empty();
        let workers = self.workers.iter().map(|worker| matters(worker, asks_demand));
        let others = other.workers.iter().map(|worker| matters(worker, asks_demand));
        self.demand == other.demand && self.idle_since == other.idle_since && workers.eq(others)
    }

    /// How many bytes they take in memory, as good as.
    fn bytes(&self) -> usize {
        let texts = |worker: &SchedulerWorker| worker.address.len() + worker.name.len() + worker.status.len();
        let workers: usize = self.workers.iter().map(texts).sum();
        workers + self.workers.len() * size_of::<SchedulerWorker>()
    }
}

/// What is known of a scheduler.
#[derive(Debug, Default)]
enum Known {
    #[default]
    Nothing,
    /// It does not answer, and why.
    Silent(String),
    Answers(Arc<Answers>),
}

/// What somebody wants to know.
#[derive(Debug)]
struct Want {
    request: SchedulerRequest,
    /// What this one was told last, by [`Watched::version`].
    told: Option<u64>,
}

/// A scheduler that is asked.
#[derive(Debug)]
struct Watched {
    wants: HashMap<ParentKey, Want>,
    known: Known,
    /// When it answered after it had not, in milliseconds since 1970.
    answers_since: i64,
    /// Grows with each change in what is known.
    version: u64,
    /// Ends the wait until the next question.
    wake: Arc<Notify>,
    /// Addresses of workers that are being retired now.
    retiring: BTreeSet<String>,
    /// And of those that were, and that the scheduler still knows. Nobody is told of them any more.
    retired: BTreeSet<String>,
}

impl Watched {
    /// Tells everybody who does not know the present version.
    fn tell(&mut self, news: &mpsc::UnboundedSender<ParentKey>) {
        for (parent, want) in &mut self.wants {
            if want.told != Some(self.version) {
                want.told = Some(self.version);
                // Nobody listens any more when the operator ends.
                let _ = news.send(parent.clone());
            }
        }
    }
}

/// All schedulers that are asked.
#[derive(Clone)]
pub struct Schedulers(Arc<Inner>);

struct Inner {
    dask: Box<dyn Dask>,
    stores: Stores,
    metrics: Arc<Metrics>,
    permits: Semaphore,
    pace: Pace,
    /// Who has to be reconciled, because something has changed.
    news: mpsc::UnboundedSender<ParentKey>,
    watched: Mutex<HashMap<ClusterKey, Watched>>,
    /// Locked after `watched`, where both are.
    kept: Mutex<Kept>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterKey, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Schedulers {
    /// Asks through `dask` the schedulers whose Services are in `stores`, and sends to `news` who has to
    /// be reconciled because of an answer.
    #[must_use]
    pub fn new(
        dask: Box<dyn Dask>,
        stores: Stores,
        metrics: Arc<Metrics>,
        news: mpsc::UnboundedSender<ParentKey>,
    ) -> Self {
        Self(Arc::new(Inner {
            dask,
            stores,
            metrics,
            permits: Semaphore::new(AT_ONCE),
            pace: Pace::new(APART),
            news,
            watched: Mutex::default(),
            kept: Mutex::default(),
        }))
    }

    /// What is known of the scheduler of `cluster`, for a plan of `parent`.
    #[must_use]
    pub fn state(&self, cluster: &ClusterKey, parent: &ParentKey) -> SchedulerState {
        let mut all = self.0.lock();
        let Some(watched) = all.get_mut(cluster) else {
            return SchedulerState::NotAsked;
        };
        let version = watched.version;
        let Some(want) = watched.wants.get_mut(parent) else {
            return SchedulerState::NotAsked;
        };
        want.told = Some(version);
        let target_duration = want.request.target_duration;
        let answers = match &watched.known {
            Known::Nothing => return SchedulerState::NotAsked,
            Known::Silent(why) => return SchedulerState::Unreachable(why.clone()),
            Known::Answers(answers) => answers.clone(),
        };
        let (answers_since, retired) = (watched.answers_since, watched.retired.clone());
        // All others wait for the lock, and there may be thousands of workers.
        drop(all);
        SchedulerState::Facts(SchedulerFacts {
            observed_at: answers.asked_at,
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

    /// From now on `parent` wants this of the scheduler of `cluster`; nothing any more where it is none.
    pub fn want(&self, cluster: &ClusterKey, parent: &ParentKey, request: Option<SchedulerRequest>) {
        let Some(request) = request else {
            if let Some(watched) = self.0.lock().get_mut(cluster)
                && watched.wants.remove(parent).is_some()
            {
                watched.wake.notify_one();
            }
            return;
        };
        let mut all = self.0.lock();
        let is_new = !all.contains_key(cluster);
        let watched = all.entry(cluster.clone()).or_insert_with(|| Watched {
            wants: HashMap::new(),
            known: Known::default(),
            answers_since: 0,
            version: 0,
            wake: Arc::default(),
            retiring: BTreeSet::new(),
            retired: BTreeSet::new(),
        });
        let retire: Vec<String> = request
            .retire
            .iter()
            .filter(|address| !watched.retiring.contains(*address) && !watched.retired.contains(*address))
            .cloned()
            .collect();
        watched.retiring.extend(retire.iter().cloned());
        let tls = request.tls;
        let before = watched.wants.remove(parent);
        let asks_more = before.as_ref().is_none_or(|before| {
            (
                &before.request.questions,
                before.request.target_duration,
                before.request.tls,
            ) != (&request.questions, request.target_duration, request.tls)
                || before.request.period > request.period
        });
        let told = before.and_then(|before| before.told);
        watched.wants.insert(parent.clone(), Want { request, told });
        if is_new {
            let poll = poll::poll(self.0.clone(), cluster.clone(), watched.wake.clone());
            tokio::spawn(poll);
        } else if asks_more {
            watched.wake.notify_one();
        }
        drop(all);
        if !retire.is_empty() {
            tokio::spawn(poll::retire(self.0.clone(), cluster.clone(), tls, retire));
        }
    }

    /// `parent` is gone and wants nothing any more.
    pub fn forget(&self, parent: &ParentKey) {
        for watched in self.0.lock().values_mut() {
            if watched.wants.remove(parent).is_some() {
                watched.wake.notify_one();
            }
        }
    }

    /// Something has changed about the scheduler of `cluster`: asks it soon, if it is asked at all.
    pub fn look(&self, cluster: &ClusterKey) {
        if let Some(watched) = self.0.lock().get(cluster) {
            watched.wake.notify_one();
        }
    }

    /// How many schedulers are asked.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }
}

/// What all of these want together, and how often: none when nobody wants anything.
fn questions(watched: &Watched) -> Option<(Questions, bool, Duration)> {
    let mut questions = Questions::default();
    let mut period = None;
    let mut tls = false;
    for Want { request, .. } in watched.wants.values() {
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
