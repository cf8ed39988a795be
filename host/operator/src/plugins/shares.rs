//! Whose turn it is to be worked for, and for how long: every namespace has a share of the operator's time.
//!
//! Where many wait, it is the turn of the namespace that has used least of late. No namespace takes all places, and neither does
//! work that takes long: the rest never waits for it. Calls of components that namespaces have brought along don't take all
//! either, whosever they are; each namespace has one of these at a time, and they use a part of a processor in the long run: what
//! is beyond that is put off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::used::Used;
use crate::threads::Load;

/// What components took for a namespace counts for its turn so many times as long as it took.
const MEMORY: u32 = 16;

/// How long all calls under one permit may take: as long as the API server waits for the webhook.
const TIME: Duration = Duration::from_secs(10);

/// The same of a namespace's own components.
const TIME_OF_TENANTS: Duration = Duration::from_secs(2);

/// How long a call of a namespace's own components waits for its turn, at most: longer than another one can take.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many accounts are kept without a look at who still needs one.
const ACCOUNTS: usize = 64;

/// How many are worked for at once on a machine with so many processors: one more than one namespace may have.
pub(crate) const fn places(cores: usize) -> usize {
    cores + 1
}

/// Who works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The operator itself, or components of it and of administrators.
    Operators,
    /// Components that the namespace has brought along.
    Tenants,
}

impl Whose {
    /// How long all calls under one permit may take.
    #[must_use]
    pub fn time(self) -> Duration {
        match self {
            Self::Operators => TIME,
            Self::Tenants => TIME_OF_TENANTS,
        }
    }
}

/// In one word, why [`Denied::Overdrawn`].
const SHARE_USED: &str = "PluginShareUsed";

/// In one word, why [`Denied::OthersFirst`].
pub(super) const OTHERS_FIRST: &str = "PluginsBusy";

/// Why a namespace's own components are not called now.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Denied {
    /// They have used what is theirs.
    #[error(
        "the plugins of the namespace {namespace} take more time than is theirs, which is a quarter of a processor in the long \
         run; they are asked again later: make them faster, or have fewer of them"
    )]
    Overdrawn {
        /// Which one.
        namespace: String,
    },
    /// It has not become their turn.
    #[error(
        "plugins of namespaces are asked in turn, one for each namespace at a time, and others were first; it is tried again in \
         a few seconds"
    )]
    OthersFirst,
}

impl Denied {
    /// One word in CamelCase, for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Overdrawn { .. } => SHARE_USED,
            Self::OthersFirst => OTHERS_FIRST,
        }
    }
}

/// Shares the operator's time out. A clone shares the same.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Mutex<Order>>);

#[derive(Debug)]
struct Order {
    /// Places that are free, and how many of them work may take that takes long, and components of namespaces.
    free: usize,
    free_for_heavy: usize,
    free_for_tenants: usize,
    /// How many a namespace may have.
    of_one: usize,
    accounts: BTreeMap<String, Account>,
    /// How many turns there were.
    turns: u64,
    /// Who came first is first.
    waiting: Vec<Ticket>,
}

/// What a namespace has used.
#[derive(Debug)]
struct Account {
    /// Time that all took for it.
    used: Used,
    /// Time that its own components took.
    by_its_own: Used,
    /// The number of its last turn.
    turn: u64,
    /// Places that it has.
    running: usize,
    /// Whether a component of its own is called now.
    is_called: bool,
}

/// Somebody who waits.
#[derive(Debug)]
struct Ticket {
    namespace: String,
    whose: Whose,
    load: Load,
    grant: oneshot::Sender<Permit>,
}

/// The right to one place, until it is dropped: what it took is charged then.
#[derive(Debug)]
pub struct Permit {
    shares: Shares,
    namespace: String,
    whose: Whose,
    load: Load,
    begun: Instant,
}

impl Shares {
    /// Shares of the time of so many processors.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self(Arc::new(Mutex::new(Order {
            free: places(cores),
            free_for_heavy: places(cores) - 1,
            free_for_tenants: cores.saturating_sub(1).max(1),
            of_one: cores.max(1),
            accounts: BTreeMap::new(),
            turns: 0,
            waiting: Vec::new(),
        })))
    }

    /// The right to work for a namespace, when it is its turn.
    ///
    /// # Errors
    ///
    /// When components of its own take too much time, or others were first for too long.
    pub(crate) async fn permit(&self, namespace: &str, whose: Whose, load: Load) -> Result<Permit, Denied> {
        let (grant, granted) = oneshot::channel();
        {
            let mut order = self.lock();
            let account = order.accounts.get(namespace);
            let is_overdrawn = account.is_some_and(|account| account.by_its_own.is_overdrawn(Instant::now()));
            if whose == Whose::Tenants && is_overdrawn {
                let namespace = namespace.to_owned();
                return Err(Denied::Overdrawn { namespace });
            }
            order.waiting.push(Ticket {
                namespace: namespace.to_owned(),
                whose,
                load,
                grant,
            });
        }
        self.serve();
        let granted = match whose {
            Whose::Operators => granted.await.ok(),
            Whose::Tenants => tokio::time::timeout(PATIENCE, granted)
                .await
                .ok()
                .and_then(Result::ok),
        };
        granted.ok_or(Denied::OthersFirst)
    }

    /// Lets all go on whose turn it is.
    fn serve(&self) {
        let mut granted = Vec::new();
        {
            let mut order = self.lock();
            let now = Instant::now();
            while let Some(Ticket {
                namespace,
                whose,
                load,
                grant,
            }) = order.next(now)
            {
                let permit = Permit {
                    shares: self.clone(),
                    namespace,
                    whose,
                    load,
                    begun: now,
                };
                granted.push((grant, permit));
            }
        }
        for (grant, permit) in granted {
            // Who waits no more has the permit dropped, and so given back.
            drop(grant.send(permit));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        // Nothing is left half changed: no call in between can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        self.shares.lock().ended(self, now);
        self.shares.serve();
    }
}

impl Order {
    /// What was used for a namespace of late, and when it had its last turn.
    fn used(&self, namespace: &str, now: Instant) -> (Duration, u64) {
        let account = self.accounts.get(namespace);
        account.map_or_else(Default::default, |account| (account.used.left(now), account.turn))
    }

    fn may_go_on(&self, ticket: &Ticket) -> bool {
        let account = self.accounts.get(&ticket.namespace);
        let (running, is_called) = account.map_or((0, false), |account| (account.running, account.is_called));
        let is_free =
            self.free > 0 && running < self.of_one && (ticket.load == Load::Light || self.free_for_heavy > 0);
        match ticket.whose {
            Whose::Operators => is_free,
            Whose::Tenants => is_free && self.free_for_tenants > 0 && !is_called,
        }
    }

    /// Whose turn it is, who has a place from now on.
    fn next(&mut self, now: Instant) -> Option<Ticket> {
        self.waiting.retain(|ticket| !ticket.grant.is_closed());
        let candidates = self.waiting.iter().enumerate();
        let (place, _) = candidates
            .filter(|(_, ticket)| self.may_go_on(ticket))
            .min_by_key(|(place, Ticket { namespace, .. })| (self.used(namespace, now), *place))?;
        let ticket = self.waiting.remove(place);
        self.free -= 1;
        self.turns += 1;
        let turn = self.turns;
        let account = self
            .accounts
            .entry(ticket.namespace.clone())
            .or_insert_with(|| Account {
                used: Used::new(MEMORY, now),
                by_its_own: Used::by_own_components(now),
                turn: 0,
                running: 0,
                is_called: false,
            });
        account.turn = turn;
        account.running += 1;
        if ticket.load == Load::Heavy {
            self.free_for_heavy -= 1;
        }
        if ticket.whose == Whose::Tenants {
            account.is_called = true;
            self.free_for_tenants -= 1;
        }
        Some(ticket)
    }

    /// What had a permit has ended.
    fn ended(&mut self, permit: &Permit, now: Instant) {
        let (whose, took) = (permit.whose, now - permit.begun);
        self.free += 1;
        if permit.load == Load::Heavy {
            self.free_for_heavy += 1;
        }
        if whose == Whose::Tenants {
            self.free_for_tenants += 1;
        }
        // Who has a place has an account.
        if let Some(account) = self.accounts.get_mut(&permit.namespace) {
            account.used.add(took, now);
            account.running -= 1;
            if whose == Whose::Tenants {
                account.by_its_own.add(took, now);
                account.is_called = false;
            }
        }
        // Who has used nothing of late has no account.
        if self.accounts.len() > ACCOUNTS {
            // What its own components took is forgotten before that.
            self.accounts
                .retain(|_, account| account.running > 0 || !account.used.left(now).is_zero());
        }
    }
}

#[cfg(test)]
mod tests;
