//! The threads on which requests are looked at, decided and answered.
//!
//! They are a share of those that may block, and a place counts as taken until the work has really ended, whoever waits for it:
//! requests that nobody waits for any more take no thread from anybody else.
//!
//! Places, and the memory that requests take once they are read, are shared out by namespace. Who has least is first; a
//! namespace never has more than its part, and requests that ask plugins of namespaces never take more than half of the places,
//! one for each namespace, and a part of a processor in the long run. Requests that take long never take all places, and are
//! looked at in places of their own: one that takes little time never waits for them. Where too much text waits, who has most of
//! it there loses what came last.
//!
//! What a namespace's own plugins take, and nothing else, is counted by the same type as where they are called for plans, and
//! apart from that: who has used up the one still has the other. Requests of who has used up this one wait as for a place, until
//! enough of it is forgotten. Whose turn it is, is another question here than for plans (`plugins::Shares`). The API server waits
//! for seconds only, so the order goes by what a namespace has at this moment and not by what it has used of late, and who can't
//! begin in time goes away; and a place comes with memory for trees and with a bound on the text that waits, which a pass has
//! elsewhere (`reconcile::room`). One type for both would be two orders side by side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_operator_runtime::until;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::review::MOST_BYTES;
use crate::plugins::{Used, Whose, with_own_time};
use crate::threads::{self, Load};

/// Threads for each processor on which requests are looked at, and as many for those that have much text: what that takes grows
/// with their text only.
const LOOKS: usize = 1;

/// Threads for each processor on which they are decided.
const AT_ONCE: usize = 2;

/// Memory for the trees of all requests that are decided. Of each there are up to four meanwhile: the object, what it is completed
/// to, what policies make of it, and what is planned from it.
const MEMORY: usize = 128 << 20;

/// What those of a namespace have of it: as much as the largest request.
const OF_NAMESPACE: usize = MOST_BYTES;

/// What each has beside that, and so never waits for larger ones: an update of an object of some 100 KiB.
const FREE: usize = 4 << 20;

/// What policies of a namespace's own have of the time for a request, together: the rest is for those of the cluster.
const OWN_TIME: Duration = Duration::from_secs(2);

/// Text of all requests that wait.
const WAITING: usize = 32 << 20;

/// So many accounts are kept without a look at who still needs one.
const ACCOUNTS: usize = 64;

/// How many threads requests take at most on a machine with so many processors.
#[must_use]
pub fn threads(cores: usize) -> usize {
    (2 * LOOKS + AT_ONCE) * cores
}

/// When a request must be done.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When components and the API server must have said what they have to say.
    pub end: Instant,
    /// When the answer must be there.
    pub deadline: Instant,
}

/// Why there is no answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Unanswered {
    /// Others were first.
    #[error("there are too many requests at once: try again")]
    Busy,
    /// Plugins of the namespace itself take too much time.
    #[error(
        "the plugins of the namespace {0} have used their part of the operator's time for requests, which is a quarter of a \
         processor in the long run: try again in a minute; make them faster, or have fewer of them"
    )]
    Overdrawn(String),
    /// It took too long.
    #[error("the components have not answered in time")]
    Late,
    /// A defect.
    #[error("the webhook failed: {0}")]
    Failed(String),
}

/// What a request is counted by.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The namespace that it is about; empty for the cluster.
    pub namespace: String,
    /// Whether it asks plugins of the namespace.
    pub whose: Whose,
    /// Bytes of its text.
    pub text: usize,
    /// Bytes of its tree.
    pub tree: usize,
}

impl Turn {
    /// What it takes of the memory that is shared out.
    fn memory(&self) -> usize {
        self.tree.saturating_sub(FREE).min(OF_NAMESPACE)
    }

    /// How long it takes.
    fn load(&self) -> Load {
        Load::heavy_if(self.whose == Whose::Tenants || self.memory() > 0)
    }
}

/// Places for work that blocks.
#[derive(Debug)]
pub struct Desk {
    looks: Arc<Semaphore>,
    heavy_looks: Arc<Semaphore>,
    order: Arc<Mutex<Order>>,
}

#[derive(Debug)]
struct Order {
    /// Places that are free, and how many of them those may take that take long, and those that ask plugins of namespaces.
    free: usize,
    free_for_heavy: usize,
    free_for_tenants: usize,
    /// Places that a namespace has at most.
    most: usize,
    /// Memory that is free.
    memory: usize,
    accounts: HashMap<String, Account>,
    /// Who came first is first.
    waiting: Vec<Ticket>,
}

/// What a namespace has.
#[derive(Debug)]
struct Account {
    places: usize,
    memory: usize,
    /// Whether plugins of its own are asked now.
    is_asked: bool,
    /// Time that they took.
    by_its_own: Used,
}

/// Somebody who waits.
#[derive(Debug)]
struct Ticket {
    turn: Turn,
    grant: oneshot::Sender<Place>,
}

/// A place, until it is dropped.
#[derive(Debug)]
struct Place {
    order: Arc<Mutex<Order>>,
    turn: Turn,
    /// Time that plugins of the namespace took in it.
    used: Duration,
}

impl Desk {
    /// One for a machine with so many processors.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        let places = AT_ONCE * cores;
        let half = (places / 2).max(1);
        Self {
            looks: Arc::new(Semaphore::new(LOOKS * cores)),
            heavy_looks: Arc::new(Semaphore::new(LOOKS * cores)),
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

    /// Does `work` on so many bytes, which takes little time whatever the request is about.
    ///
    /// # Errors
    ///
    /// When there is no answer in time, or it panicked.
    pub async fn look<T: Send + 'static>(
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

    /// Does `work` when it is its turn, which must be before `begin`. What it asks components ends with `times.end`.
    ///
    /// # Errors
    ///
    /// When there is no answer in time, or it panicked.
    pub async fn run<T: Send + 'static>(
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

    /// What policies of a namespace's own have. Where it is not their turn, plugins that are changed are asked about their
    /// settings: they are not where they have used up what is theirs, and then the change passes all the same.
    fn own_time(&self, turn: &Turn) -> Duration {
        let is_overdrawn = lock(&self.order).is_overdrawn(&turn.namespace, Instant::now());
        if turn.whose == Whose::Operators && is_overdrawn {
            Duration::ZERO
        } else {
            OWN_TIME
        }
    }

    /// Waits for a place.
    async fn place(&self, turn: Turn, begin: Instant) -> Result<Place, Unanswered> {
        let (grant, granted) = oneshot::channel();
        let (namespace, whose) = (turn.namespace.clone(), turn.whose);
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
                Err(if whose == Whose::Tenants && is_overdrawn {
                    Unanswered::Overdrawn(namespace)
                } else {
                    Unanswered::Busy
                })
            }
        }
    }

    /// Plugins of a namespace have used so much in a turn.
    #[cfg(test)]
    pub(super) async fn charge(&self, turn: Turn, used: Duration) {
        if let Ok(mut place) = self.place(turn, Instant::now()).await {
            place.used = used;
        }
    }

    /// What a namespace's own plugins have used.
    #[cfg(test)]
    pub(super) fn used(&self, namespace: &str) -> Duration {
        let order = lock(&self.order);
        let account = order.accounts.get(namespace);
        account.map_or(Duration::ZERO, |account| account.by_its_own.left(Instant::now()))
    }
}

/// Does `work` on a thread.
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
    // Nothing is left half changed: no call in between can panic.
    order.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives places to all whose turn it is.
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
        // Who waits no more has the place dropped, and so given back.
        drop(grant.send(place));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let overdrawn_until = lock(&self.order).ended(&self.turn, self.used);
        serve(&self.order);
        // Whose plugins have used too much waits for no place that comes free. Without a runtime nobody waits at all.
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
    /// Whether a namespace's own plugins have used more than what is theirs.
    fn is_overdrawn(&self, namespace: &str, now: Instant) -> bool {
        let account = self.accounts.get(namespace);
        account.is_some_and(|account| account.by_its_own.is_overdrawn(now))
    }

    /// Who can have a place and memory now, who has least of the places first. Who needs more memory than there is does not wait
    /// for ever because others need less.
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
                || (turn.whose == Whose::Tenants
                    && (is_asked || self.free_for_tenants == 0 || self.is_overdrawn(&turn.namespace, now)));
            let wanted = turn.memory();
            if places >= self.most || is_held_up || (wanted > 0 && has + wanted > OF_NAMESPACE) {
                return false;
            }
            is_short |= wanted > self.memory;
            wanted == 0 || !is_short
        })
    }

    /// Whose turn it is, who has a place from now on.
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
        if turn.whose == Whose::Tenants {
            account.is_asked = true;
            self.free_for_tenants -= 1;
        }
        Some(ticket)
    }

    /// Work has ended in which plugins of the namespace have used so much time. Returns when they may be asked again, where that
    /// is too much.
    fn ended(&mut self, turn: &Turn, used: Duration) -> Option<Instant> {
        let now = Instant::now();
        self.free += 1;
        self.memory += turn.memory();
        if turn.load() == Load::Heavy {
            self.free_for_heavy += 1;
        }
        if turn.whose == Whose::Tenants {
            self.free_for_tenants += 1;
        }
        let mut overdrawn_until = None;
        // Who has a place has an account.
        if let Some(account) = self.accounts.get_mut(&turn.namespace) {
            account.places -= 1;
            account.memory -= turn.memory();
            if turn.whose == Whose::Tenants {
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

    /// Sends those away who came last of the namespace of which most waits, until what waits is not too much.
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
