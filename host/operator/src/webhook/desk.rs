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
//! The order differs from that for plans (`plugins::Shares`). The API server waits only for seconds, so the order depends on the
//! permits that a namespace has now, not on its recent use, and requests that can't start in time are refused. Also, a permit
//! includes memory for parsed requests, and the text of waiting requests is limited, which reconciles have elsewhere
//! (`reconcile::room`). One type for both would contain two orders side by side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_operator_evaluator::logic::PluginOwner;
use dask_operator_runtime::until;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::review::MOST_BYTES;
use crate::plugins::with_own_time;
use crate::threads::used::Used;
use crate::threads::{self, CLASSIFICATIONS, DECISIONS, Load};

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
pub(crate) struct Times {
    /// Time by which components and dry runs must have ended.
    pub(crate) end: Instant,
    /// Time by which the response must be ready.
    pub(crate) deadline: Instant,
}

/// The reason why a request has no decision.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Unanswered {
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
pub(crate) struct Turn {
    /// Namespace of the object. Empty for cluster-scoped objects.
    pub(crate) namespace: String,
    /// Owner of the plugins that the request calls.
    pub(crate) owner: PluginOwner,
    /// Bytes of the request's text.
    pub(crate) text: usize,
    /// Bytes of memory of the parsed request.
    pub(crate) tree: usize,
}

impl Turn {
    /// Returns the bytes of [`MEMORY`] that the request takes.
    fn memory(&self) -> usize {
        self.tree.saturating_sub(FREE).min(OF_NAMESPACE)
    }

    /// Returns the load of the request: heavy if it calls plugins of the namespace or takes memory of [`MEMORY`].
    fn load(&self) -> Load {
        Load::heavy_if(self.owner == PluginOwner::Tenant || self.memory() > 0)
    }
}

/// Fair semaphore for blocking work on requests.
#[derive(Debug)]
pub(crate) struct Desk {
    looks: Arc<Semaphore>,
    heavy_looks: Arc<Semaphore>,
    order: Arc<Mutex<Order>>,
}

#[derive(Debug)]
struct Order {
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
    waiting: Vec<Ticket>,
}

/// Account of a namespace.
#[derive(Debug)]
struct Account {
    places: usize,
    memory: usize,
    /// True while a request that calls the namespace's own plugins has a permit.
    is_asked: bool,
    /// Time that the namespace's own plugins have used.
    by_its_own: Used,
}

/// A request that waits for a permit.
#[derive(Debug)]
struct Ticket {
    turn: Turn,
    grant: oneshot::Sender<Place>,
}

/// A permit, which is released on drop.
#[derive(Debug)]
struct Place {
    order: Arc<Mutex<Order>>,
    turn: Turn,
    /// Time that the namespace's own plugins used under this permit.
    used: Duration,
}

impl Desk {
    /// Creates the permits for a machine with this number of processors.
    #[must_use]
    pub(crate) fn new(cores: usize) -> Self {
        let places = DECISIONS * cores;
        let half = (places / 2).max(1);
        Self {
            looks: Arc::new(Semaphore::new(CLASSIFICATIONS * cores)),
            heavy_looks: Arc::new(Semaphore::new(CLASSIFICATIONS * cores)),
            order: Arc::new(Mutex::new(Order {
                free: places,
                free_for_heavy: places - (places / 4).max(1),
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
    /// Returns an error if no thread is free before `times.end`, if the work does not end before the deadline, or if it panics.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        times: Times,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let load = Load::of(bytes);
        let looks = match load {
            Load::Light => &self.looks,
            Load::Heavy => &self.heavy_looks,
        };
        // The semaphores are never closed.
        let Ok(Ok(place)) = timeout_at(times.end, looks.clone().acquire_owned()).await else {
            return Err(Unanswered::Busy);
        };
        let work = move || {
            let _place = place;
            work()
        };
        on_thread(times, load, work).await
    }

    /// Waits for a permit until `begin`, and runs `work` under it. Calls of components in the work end at `times.end`.
    ///
    /// # Errors
    ///
    /// Returns an error if no permit is free before `begin`, if the work does not end before the deadline, or if it panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        turn: Turn,
        begin: Instant,
        times: Times,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let mut place = self.place(turn, begin).await?;
        let (own_time, load) = (self.own_time(&place.turn), place.turn.load());
        let work = move || {
            let (done, used) = with_own_time(own_time, work);
            place.used = used;
            drop(place);
            done
        };
        on_thread(times, load, work).await
    }

    /// Returns the time that the namespace's own policies may take for a request. A request that changes a plugin calls it to check
    /// its settings, although it does not count as a call of the namespace's plugins. If the namespace has used up its time, the
    /// settings are not checked, and the change is admitted nevertheless.
    fn own_time(&self, turn: &Turn) -> Duration {
        let is_overdrawn = lock(&self.order).is_overdrawn(&turn.namespace, Instant::now());
        if turn.owner == PluginOwner::Administrator && is_overdrawn {
            Duration::ZERO
        } else {
            OWN_TIME
        }
    }

    /// Waits for a permit until `begin`.
    async fn place(&self, turn: Turn, begin: Instant) -> Result<Place, Unanswered> {
        let (grant, granted) = oneshot::channel();
        let (namespace, owner) = (turn.namespace.clone(), turn.owner);
        {
            let mut order = lock(&self.order);
            order.waiting.push(Ticket { turn, grant });
            order.turn_away();
        }
        serve(&self.order);
        match timeout_at(begin, granted).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(Unanswered::Busy),
            Err(_) => {
                let is_overdrawn = lock(&self.order).is_overdrawn(&namespace, Instant::now());
                Err(if owner == PluginOwner::Tenant && is_overdrawn {
                    Unanswered::Overdrawn(namespace)
                } else {
                    Unanswered::Busy
                })
            }
        }
    }

    /// Records time that the namespace's own plugins used under a permit.
    #[cfg(test)]
    pub(super) async fn charge(&self, turn: Turn, used: Duration) {
        if let Ok(mut place) = self.place(turn, Instant::now()).await {
            place.used = used;
        }
    }

    /// Returns the time that the namespace's own plugins have used.
    #[cfg(test)]
    pub(super) fn used(&self, namespace: &str) -> Duration {
        let order = lock(&self.order);
        let account = order.accounts.get(namespace);
        account.map_or(Duration::ZERO, |account| account.by_its_own.left(Instant::now()))
    }
}

/// Runs `work` on a blocking thread.
async fn on_thread<T: Send + 'static>(
    times: Times,
    load: Load,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unanswered> {
    let work = threads::spawn(load, move || until(times.end.into_std(), work));
    match timeout_at(times.deadline, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Unanswered::Failed(error.to_string())),
        Err(_) => Err(Unanswered::Late),
    }
}

fn lock(order: &Mutex<Order>) -> MutexGuard<'_, Order> {
    // A poisoned lock is safe to use: no code that runs under it can panic halfway through a change.
    order.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Grants permits to all waiting requests that can get one now.
fn serve(order: &Arc<Mutex<Order>>) {
    let mut granted = Vec::new();
    {
        let mut locked = lock(order);
        while let Some(Ticket { turn, grant }) = locked.next() {
            let place = Place {
                order: order.clone(),
                turn,
                used: Duration::ZERO,
            };
            granted.push((grant, place));
        }
    }
    for (grant, place) in granted {
        // If the request has given up, the permit is dropped and so released.
        drop(grant.send(place));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let overdrawn_until = lock(&self.order).ended(&self.turn, self.used);
        serve(&self.order);
        // Requests of a namespace that has used up its time wait for this time, not for a permit. Without a runtime, no request
        // waits at all.
        if let (Some(until), Ok(runtime)) = (overdrawn_until, Handle::try_current()) {
            let order = self.order.clone();
            runtime.spawn(async move {
                sleep_until(until).await;
                serve(&order);
            });
        }
    }
}

impl Order {
    /// Returns whether a namespace's own plugins have used up their time.
    fn is_overdrawn(&self, namespace: &str, now: Instant) -> bool {
        let account = self.accounts.get(namespace);
        account.is_some_and(|account| account.by_its_own.is_overdrawn(now))
    }

    /// Returns the index of the waiting request that gets a permit and memory next, or `None` if none can get them now. The
    /// namespace with the fewest permits goes first. A request that needs more memory than is free stops those after it that need
    /// memory too, so that it does not starve.
    fn first(&self) -> Option<usize> {
        if self.free == 0 {
            return None;
        }
        let account = |at: usize| self.accounts.get(&self.waiting[at].turn.namespace);
        let mut order: Vec<_> = (0..self.waiting.len()).collect();
        order.sort_by_cached_key(|at| account(*at).map_or(0, |account| account.places));
        let now = Instant::now();
        let mut is_short = false;
        order.into_iter().find(|at| {
            let turn = &self.waiting[*at].turn;
            let (places, has, is_asked) =
                account(*at).map_or((0, 0, false), |a| (a.places, a.memory, a.is_asked));
            let is_held_up = (turn.load() == Load::Heavy && self.free_for_heavy == 0)
                || (turn.owner == PluginOwner::Tenant
                    && (is_asked || self.free_for_tenants == 0 || self.is_overdrawn(&turn.namespace, now)));
            let wanted = turn.memory();
            if places >= self.most || is_held_up || (wanted > 0 && has + wanted > OF_NAMESPACE) {
                return false;
            }
            is_short |= wanted > self.memory;
            wanted == 0 || !is_short
        })
    }

    /// Removes the next request from the queue and takes a permit and memory for it. Returns `None` if none can get them now.
    fn next(&mut self) -> Option<Ticket> {
        self.waiting.retain(|ticket| !ticket.grant.is_closed());
        let at = self.first()?;
        let ticket = self.waiting.remove(at);
        let turn = &ticket.turn;
        self.free -= 1;
        self.memory -= turn.memory();
        let account = self
            .accounts
            .entry(turn.namespace.clone())
            .or_insert_with(|| Account {
                places: 0,
                memory: 0,
                is_asked: false,
                by_its_own: Used::by_own_components(Instant::now()),
            });
        account.places += 1;
        account.memory += turn.memory();
        if turn.load() == Load::Heavy {
            self.free_for_heavy -= 1;
        }
        if turn.owner == PluginOwner::Tenant {
            account.is_asked = true;
            self.free_for_tenants -= 1;
        }
        Some(ticket)
    }

    /// Releases the permit and memory of a request whose own plugins used so much time. Returns the time from which they may be
    /// called again, if they have now used up their time.
    fn ended(&mut self, turn: &Turn, used: Duration) -> Option<Instant> {
        let now = Instant::now();
        self.free += 1;
        self.memory += turn.memory();
        if turn.load() == Load::Heavy {
            self.free_for_heavy += 1;
        }
        if turn.owner == PluginOwner::Tenant {
            self.free_for_tenants += 1;
        }
        let mut overdrawn_until = None;
        // Every namespace with a permit has an account.
        if let Some(account) = self.accounts.get_mut(&turn.namespace) {
            account.places -= 1;
            account.memory -= turn.memory();
            if turn.owner == PluginOwner::Tenant {
                account.is_asked = false;
            }
            account.by_its_own.add(used, now);
            if !used.is_zero() {
                overdrawn_until = account.by_its_own.overdrawn_until(now);
            }
        }
        if self.accounts.len() > ACCOUNTS {
            self.accounts
                .retain(|_, account| account.places > 0 || !account.by_its_own.left(now).is_zero());
        }
        overdrawn_until
    }

    /// Refuses waiting requests until their text is within [`WAITING`]: each time the last request of the namespace with the most
    /// waiting text.
    fn turn_away(&mut self) {
        self.waiting.retain(|ticket| !ticket.grant.is_closed());
        loop {
            let mut texts: HashMap<&str, usize> = HashMap::new();
            for Ticket { turn, .. } in &self.waiting {
                *texts.entry(&turn.namespace).or_default() += turn.text;
            }
            if texts.values().sum::<usize>() <= WAITING {
                return;
            }
            let most = texts.into_iter().max_by_key(|(_, text)| *text);
            let is_theirs =
                |ticket: &Ticket| most.is_some_and(|(namespace, _)| ticket.turn.namespace == namespace);
            let Some(last) = self.waiting.iter().rposition(is_theirs) else {
                return;
            };
            self.waiting.remove(last);
        }
    }
}

#[cfg(test)]
mod tests;
