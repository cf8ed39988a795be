//! Threads on which requests are classified, decided and answered, with fair sharing between namespaces.
//!
//! The threads are a share of the blocking threads. A permit is taken until the work has really ended, even if its caller has
//! given up, so that abandoned requests never use more threads than the permits allow.
//!
//! Permits, and the memory of parsed requests, are shared by namespace. The namespace with the fewest permits goes first, and no
//! namespace gets more than its part. Requests that call plugins of namespaces take at most half of the permits, one per
//! namespace, and a part of a processor in the long run. Heavy requests never take all permits, and are classified on threads of
//! their own, so that the classification of light requests never waits for them. If the waiting requests have too much text, the
//! namespace with the most text loses its last request.
//!
//! The time of a namespace's own plugins, and nothing else, is counted with the same type as for plans, but in a separate
//! account: a namespace that has used up one of them can still use the other. Requests of a namespace that has used up this one
//! wait as for a permit, until enough of the time is forgotten.
//!
//! The order differs from that for plans ([`threads::fair_permits`]). The API server waits only for seconds, so the order depends
//! on the permits that a namespace has now, not on its recent use, and requests that can't start in time are refused. Also, a
//! permit includes memory for parsed requests, and the text of waiting requests is limited, which reconciles have elsewhere
//! (`reconcile::memory_budget`). One type for both would contain two orders side by side.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dask_operator_evaluator::logic::PluginOwner;
use dask_operator_runtime::until;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::parse::MOST_BYTES;
use crate::plugins::with_time_budget;
use crate::threads::leaky_bucket::LeakyBucket;
use crate::threads::{self, CLASSIFICATIONS, DECISIONS, Weight};

/// Bytes of memory for the parsed objects of all requests that are being decided. Each request has up to four versions of its
/// object in memory: the original, the defaulted one, the one changed by policies, and the planned one.
const MEMORY: usize = 128 << 20;

/// Bytes of [`MEMORY`] that the requests of one namespace may take: as many as the largest request.
const OF_NAMESPACE: usize = MOST_BYTES;

/// Bytes of each request that are not counted, so that it never waits for larger ones. They suffice for an update of an object
/// of some 100 KiB.
const FREE: usize = 4 << 20;

/// Time that the namespace's own policies may take for a request, together. The rest is for the policies of the cluster.
const OWN_TIME: Duration = Duration::from_secs(2);

/// Maximum bytes of text of all waiting requests.
const WAITING: usize = 32 << 20;

/// Number of accounts above which unused ones are removed.
const ACCOUNTS: usize = 64;

/// Time limits of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// Time by which components and dry runs must have ended.
    pub(crate) end: Instant,
    /// Time by which the response must be ready.
    pub(crate) deadline: Instant,
}

/// The reason why a request has no decision.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ExecutorError {
    /// Other requests took all permits until the time limit, or too much text was waiting.
    #[error("there are too many requests at once: try again")]
    Busy,
    /// The namespace's own plugins have used up their time.
    #[error(
        "the plugins of the namespace {0} have used their part of the operator's time for requests, which is a quarter of a \
         processor in the long run: try again in a minute; make them faster, or have fewer of them"
    )]
    Overdrawn(String),
    /// The work exceeded the deadline.
    #[error("the components have not answered in time")]
    Late,
    /// The work panicked, which is a defect.
    #[error("the webhook failed: {0}")]
    Failed(String),
}

/// The resources that a request is counted for.
#[derive(Clone, Debug)]
pub(crate) struct RequestCost {
    /// Namespace of the object. Empty for cluster-scoped objects.
    pub(crate) namespace: String,
    /// Owner of the plugins that the request calls.
    pub(crate) owner: PluginOwner,
    /// Bytes of the request's text.
    pub(crate) text: usize,
    /// Bytes of memory of the parsed request.
    pub(crate) tree: usize,
}

impl RequestCost {
    /// Returns the bytes of [`MEMORY`] that the request takes.
    fn memory(&self) -> usize {
        self.tree.saturating_sub(FREE).min(OF_NAMESPACE)
    }

    /// Returns the weight of the request: heavy if it calls plugins of the namespace or takes memory of [`MEMORY`].
    fn weight(&self) -> Weight {
        Weight::heavy_if(self.owner == PluginOwner::Tenant || self.memory() > 0)
    }
}

/// Fair semaphore for blocking work on requests.
#[derive(Debug)]
pub(crate) struct Executor {
    classifications: Arc<Semaphore>,
    heavy_classifications: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Number of free permits, number of them that may be taken by heavy requests, and number of them that may be taken by
    /// requests that call plugins of namespaces.
    free: usize,
    free_for_heavy: usize,
    free_for_tenants: usize,
    /// Maximum number of permits of a namespace.
    most: usize,
    /// Bytes of memory that are free.
    memory: usize,
    accounts: HashMap<String, Account>,
    /// Waiting requests, in the order of their arrival.
    waiting: Vec<Waiter>,
}

/// Account of a namespace.
#[derive(Debug)]
struct Account {
    permits: usize,
    memory: usize,
    /// True while a request that calls the namespace's own plugins has a permit.
    calls_own_plugins: bool,
    /// Time that the namespace's own plugins have used.
    own_plugin_time: LeakyBucket,
}

/// A request that waits for a permit.
#[derive(Debug)]
struct Waiter {
    cost: RequestCost,
    grant: oneshot::Sender<Permit>,
}

/// A permit, which is released on drop.
#[derive(Debug)]
struct Permit {
    state: Arc<Mutex<State>>,
    cost: RequestCost,
    /// Time that the namespace's own plugins used under this permit.
    used: Duration,
}

impl Executor {
    /// Creates the permits for a machine with this number of processors.
    #[must_use]
    pub(crate) fn new(cores: usize) -> Self {
        let permits = DECISIONS * cores;
        let half = (permits / 2).max(1);
        Self {
            classifications: Arc::new(Semaphore::new(CLASSIFICATIONS * cores)),
            heavy_classifications: Arc::new(Semaphore::new(CLASSIFICATIONS * cores)),
            state: Arc::new(Mutex::new(State {
                free: permits,
                free_for_heavy: permits - (permits / 4).max(1),
                free_for_tenants: half,
                most: half,
                memory: MEMORY,
                accounts: HashMap::new(),
                waiting: Vec::new(),
            })),
        }
    }

    /// Runs `work`, which must be short and must not call components.
    ///
    /// # Errors
    ///
    /// Returns an error if no thread is free before `limits.end`, if the work does not end before the deadline, or if it panics.
    pub(crate) async fn run_short<T: Send + 'static>(
        &self,
        limits: TimeLimits,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ExecutorError> {
        let weight = Weight::of(bytes);
        let classifications = match weight {
            Weight::Light => &self.classifications,
            Weight::Heavy => &self.heavy_classifications,
        };
        // The semaphores are never closed.
        let Ok(Ok(permit)) = timeout_at(limits.end, classifications.clone().acquire_owned()).await else {
            return Err(ExecutorError::Busy);
        };
        let work = move || {
            let _permit = permit;
            work()
        };
        on_thread(limits, weight, work).await
    }

    /// Waits for a permit until `begin`, and runs `work` under it. Calls of components in the work end at `limits.end`.
    ///
    /// # Errors
    ///
    /// Returns an error if no permit is free before `begin`, if the work does not end before the deadline, or if it panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        cost: RequestCost,
        begin: Instant,
        limits: TimeLimits,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ExecutorError> {
        let mut permit = self.permit(cost, begin).await?;
        let (own_time, weight) = (self.own_time(&permit.cost), permit.cost.weight());
        let work = move || {
            let (done, used) = with_time_budget(own_time, work);
            permit.used = used;
            drop(permit);
            done
        };
        on_thread(limits, weight, work).await
    }

    /// Returns the time that the namespace's own policies may take for a request. A request that changes a plugin calls it to check
    /// its settings, although it does not count as a call of the namespace's plugins. If the namespace has used up its time, the
    /// settings are not checked, and the change is admitted nevertheless.
    fn own_time(&self, cost: &RequestCost) -> Duration {
        let is_overdrawn = self.state.lock().is_overdrawn(&cost.namespace, Instant::now());
        if cost.owner == PluginOwner::Administrator && is_overdrawn {
            Duration::ZERO
        } else {
            OWN_TIME
        }
    }

    /// Waits for a permit until `begin`.
    async fn permit(&self, cost: RequestCost, begin: Instant) -> Result<Permit, ExecutorError> {
        let (grant, granted) = oneshot::channel();
        let (namespace, owner) = (cost.namespace.clone(), cost.owner);
        {
            let mut state = self.state.lock();
            state.waiting.push(Waiter { cost, grant });
            state.reject_excess_text();
        }
        serve(&self.state);
        match timeout_at(begin, granted).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(ExecutorError::Busy),
            Err(_) => {
                let is_overdrawn = self.state.lock().is_overdrawn(&namespace, Instant::now());
                Err(if owner == PluginOwner::Tenant && is_overdrawn {
                    ExecutorError::Overdrawn(namespace)
                } else {
                    ExecutorError::Busy
                })
            }
        }
    }

    /// Records time that the namespace's own plugins used under a permit.
    #[cfg(test)]
    pub(super) async fn charge(&self, cost: RequestCost, used: Duration) {
        if let Ok(mut permit) = self.permit(cost, Instant::now()).await {
            permit.used = used;
        }
    }

    /// Returns the time that the namespace's own plugins have used.
    #[cfg(test)]
    pub(super) fn used(&self, namespace: &str) -> Duration {
        let state = self.state.lock();
        let account = state.accounts.get(namespace);
        account.map_or(Duration::ZERO, |account| {
            account.own_plugin_time.level(Instant::now())
        })
    }
}

/// Runs `work` on a blocking thread.
async fn on_thread<T: Send + 'static>(
    limits: TimeLimits,
    weight: Weight,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExecutorError> {
    let work = threads::spawn(weight, move || until(limits.end.into_std(), work));
    match timeout_at(limits.deadline, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(ExecutorError::Failed(error.to_string())),
        Err(_) => Err(ExecutorError::Late),
    }
}

/// Grants permits to all waiting requests that can get one now.
fn serve(state: &Arc<Mutex<State>>) {
    let mut granted = Vec::new();
    {
        let mut locked = state.lock();
        while let Some(Waiter { cost, grant }) = locked.next() {
            let permit = Permit {
                state: state.clone(),
                cost,
                used: Duration::ZERO,
            };
            granted.push((grant, permit));
        }
    }
    for (grant, permit) in granted {
        // If the request has given up, the permit is dropped and so released.
        drop(grant.send(permit));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let overdrawn_until = self.state.lock().ended(&self.cost, self.used);
        serve(&self.state);
        // Requests of a namespace that has used up its time wait for this time, not for a permit. Without a runtime, no request
        // waits at all.
        if let (Some(until), Ok(runtime)) = (overdrawn_until, Handle::try_current()) {
            let state = self.state.clone();
            runtime.spawn(async move {
                sleep_until(until).await;
                serve(&state);
            });
        }
    }
}

impl State {
    /// Returns whether a namespace's own plugins have used up their time.
    fn is_overdrawn(&self, namespace: &str, now: Instant) -> bool {
        let account = self.accounts.get(namespace);
        account.is_some_and(|account| account.own_plugin_time.is_overdrawn(now))
    }

    /// Returns the index of the waiting request that gets a permit and memory next, or `None` if none can get them now. The
    /// namespace with the fewest permits goes first. A request that needs more memory than is free stops those after it that need
    /// memory too, so that it does not starve.
    fn first(&self) -> Option<usize> {
        if self.free == 0 {
            return None;
        }
        let account = |at: usize| self.accounts.get(&self.waiting[at].cost.namespace);
        let mut order: Vec<_> = (0..self.waiting.len()).collect();
        order.sort_by_cached_key(|at| account(*at).map_or(0, |account| account.permits));
        let now = Instant::now();
        let mut is_short = false;
        order.into_iter().find(|at| {
            let cost = &self.waiting[*at].cost;
            let (permits, has, calls_own_plugins) =
                account(*at).map_or((0, 0, false), |a| (a.permits, a.memory, a.calls_own_plugins));
            let is_held_up = (cost.weight() == Weight::Heavy && self.free_for_heavy == 0)
                || (cost.owner == PluginOwner::Tenant
                    && (calls_own_plugins
                        || self.free_for_tenants == 0
                        || self.is_overdrawn(&cost.namespace, now)));
            let wanted = cost.memory();
            if permits >= self.most || is_held_up || (wanted > 0 && has + wanted > OF_NAMESPACE) {
                return false;
            }
            is_short |= wanted > self.memory;
            wanted == 0 || !is_short
        })
    }

    /// Removes the next request from the queue and takes a permit and memory for it. Returns `None` if none can get them now.
    fn next(&mut self) -> Option<Waiter> {
        self.waiting.retain(|waiter| !waiter.grant.is_closed());
        let at = self.first()?;
        let waiter = self.waiting.remove(at);
        let cost = &waiter.cost;
        self.free -= 1;
        self.memory -= cost.memory();
        let account = self
            .accounts
            .entry(cost.namespace.clone())
            .or_insert_with(|| Account {
                permits: 0,
                memory: 0,
                calls_own_plugins: false,
                own_plugin_time: LeakyBucket::for_own_components(Instant::now()),
            });
        account.permits += 1;
        account.memory += cost.memory();
        if cost.weight() == Weight::Heavy {
            self.free_for_heavy -= 1;
        }
        if cost.owner == PluginOwner::Tenant {
            account.calls_own_plugins = true;
            self.free_for_tenants -= 1;
        }
        Some(waiter)
    }

    /// Releases the permit and memory of a request whose own plugins used so much time. Returns the time from which they may be
    /// called again, if they have now used up their time.
    fn ended(&mut self, cost: &RequestCost, used: Duration) -> Option<Instant> {
        let now = Instant::now();
        self.free += 1;
        self.memory += cost.memory();
        if cost.weight() == Weight::Heavy {
            self.free_for_heavy += 1;
        }
        if cost.owner == PluginOwner::Tenant {
            self.free_for_tenants += 1;
        }
        let mut overdrawn_until = None;
        // Every namespace with a permit has an account.
        if let Some(account) = self.accounts.get_mut(&cost.namespace) {
            account.permits -= 1;
            account.memory -= cost.memory();
            if cost.owner == PluginOwner::Tenant {
                account.calls_own_plugins = false;
            }
            account.own_plugin_time.add(used, now);
            if !used.is_zero() {
                overdrawn_until = account.own_plugin_time.overdrawn_until(now);
            }
        }
        if self.accounts.len() > ACCOUNTS {
            self.accounts
                .retain(|_, account| account.permits > 0 || !account.own_plugin_time.level(now).is_zero());
        }
        overdrawn_until
    }

    /// Refuses waiting requests until their text is within [`WAITING`]: each time the last request of the namespace with the most
    /// waiting text.
    fn reject_excess_text(&mut self) {
        self.waiting.retain(|waiter| !waiter.grant.is_closed());
        loop {
            let mut texts: HashMap<&str, usize> = HashMap::new();
            for Waiter { cost, .. } in &self.waiting {
                *texts.entry(&cost.namespace).or_default() += cost.text;
            }
            if texts.values().sum::<usize>() <= WAITING {
                return;
            }
            let most = texts.into_iter().max_by_key(|(_, text)| *text);
            let is_theirs =
                |waiter: &Waiter| most.is_some_and(|(namespace, _)| waiter.cost.namespace == namespace);
            let Some(last) = self.waiting.iter().rposition(is_theirs) else {
                return;
            };
            self.waiting.remove(last);
        }
    }
}

#[cfg(test)]
mod tests;
