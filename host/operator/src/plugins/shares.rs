//! Who may call components, and when: every namespace has a share of the operator's time.
//!
//! Where many wait, it is the turn of the namespace that has used least of late. Calls of components that a namespace has brought
//! along itself never take all places, are made one at a time, and use a part of a processor in the long run: what is beyond
//! that is put off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What components took for a namespace counts for its turn so many times as long as it took.
const MEMORY: u32 = 16;

/// Of the time that passes, a namespace's own components may use one part in so many.
const PART: u32 = 4;

/// And so much at once, where they have used little before.
const BURST: Duration = Duration::from_secs(10);

/// How long a call of a namespace's own components waits for its turn, at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many accounts are kept without a look at who still needs one.
const ACCOUNTS: usize = 64;

/// Whose components are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of the operator and of administrators only.
    Operators,
    /// Some that the namespace has brought along.
    Tenants,
}

/// A namespace's own components have used what is theirs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "the plugins of the namespace {namespace} take more time than is theirs, which is one call at a time and a quarter of a \
     processor in the long run; they are asked again later: make them faster, or have fewer of them"
)]
pub struct Overdrawn {
    namespace: String,
}

/// Shares the operator's time out. A clone shares the same.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Mutex<Order>>);

#[derive(Debug)]
struct Order {
    /// Places that are free, and how many of them components of namespaces may take.
    free: usize,
    free_for_tenants: usize,
    accounts: BTreeMap<String, Account>,
    /// How many turns there were.
    turns: u64,
    /// Who came first is first.
    waiting: Vec<Ticket>,
}

/// What a namespace has used.
#[derive(Debug)]
struct Account {
    /// Time that all components took for it, less what has passed since.
    used: Duration,
    /// Time that its own components took, less their part of what has passed since.
    owed: Duration,
    at: Instant,
    /// The number of its last turn.
    turn: u64,
    /// Whether a component of its own is called now.
    is_called: bool,
}

/// Somebody who waits.
#[derive(Debug)]
struct Ticket {
    namespace: String,
    whose: Whose,
    grant: oneshot::Sender<Permit>,
}

/// The right to one call, until it is dropped: what it took is charged then.
#[derive(Debug)]
pub struct Permit {
    shares: Shares,
    namespace: String,
    whose: Whose,
    begun: Instant,
}

impl Shares {
    /// Shares of `at_once` calls at a time.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(Order {
            free: at_once,
            free_for_tenants: at_once.saturating_sub(1).max(1),
            accounts: BTreeMap::new(),
            turns: 0,
            waiting: Vec::new(),
        })))
    }

    /// The right to call components for a namespace, when it is its turn.
    ///
    /// # Errors
    ///
    /// When components of its own take too much time.
    pub async fn permit(&self, namespace: &str, whose: Whose) -> Result<Permit, Overdrawn> {
        let overdrawn = || Overdrawn {
            namespace: namespace.to_owned(),
        };
        let (grant, granted) = oneshot::channel();
        {
            let mut order = self.lock();
            if whose == Whose::Tenants && order.owed(namespace, Instant::now()) >= BURST {
                return Err(overdrawn());
            }
            order.waiting.push(Ticket {
                namespace: namespace.to_owned(),
                whose,
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
        granted.ok_or_else(overdrawn)
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
                grant,
            }) = order.next(now)
            {
                let permit = Permit {
                    shares: self.clone(),
                    namespace,
                    whose,
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
        self.shares
            .lock()
            .ended(&self.namespace, self.whose, now - self.begun, now);
        self.shares.serve();
    }
}

impl Order {
    /// What a namespace's own components owe now.
    fn owed(&self, namespace: &str, now: Instant) -> Duration {
        let account = self.accounts.get(namespace);
        account.map_or(Duration::ZERO, |account| {
            account.owed.saturating_sub((now - account.at) / PART)
        })
    }

    /// What all components used for a namespace of late.
    fn used(&self, namespace: &str, now: Instant) -> Duration {
        let account = self.accounts.get(namespace);
        account.map_or(Duration::ZERO, |account| {
            account.used.saturating_sub((now - account.at) / MEMORY)
        })
    }

    fn last_turn(&self, namespace: &str) -> u64 {
        self.accounts.get(namespace).map_or(0, |account| account.turn)
    }

    fn may_go_on(&self, ticket: &Ticket) -> bool {
        match ticket.whose {
            Whose::Operators => self.free > 0,
            Whose::Tenants => {
                let account = self.accounts.get(&ticket.namespace);
                let is_called = account.is_some_and(|account| account.is_called);
                self.free > 0 && self.free_for_tenants > 0 && !is_called
            }
        }
    }

    /// Whose turn it is, who has a place from now on.
    fn next(&mut self, now: Instant) -> Option<Ticket> {
        self.waiting.retain(|ticket| !ticket.grant.is_closed());
        let candidates = self.waiting.iter().enumerate();
        let (place, _) = candidates
            .filter(|(_, ticket)| self.may_go_on(ticket))
            .min_by_key(|(place, Ticket { namespace, .. })| {
                (self.used(namespace, now), self.last_turn(namespace), *place)
            })?;
        let ticket = self.waiting.remove(place);
        self.free -= 1;
        self.turns += 1;
        let turn = self.turns;
        let account = self.account(&ticket.namespace, now);
        account.turn = turn;
        if ticket.whose == Whose::Tenants {
            account.is_called = true;
            self.free_for_tenants -= 1;
        }
        Some(ticket)
    }

    /// A call has ended that took so long.
    fn ended(&mut self, namespace: &str, whose: Whose, took: Duration, now: Instant) {
        self.free += 1;
        let account = self.account(namespace, now);
        account.used += took;
        if whose == Whose::Tenants {
            account.owed += took;
            account.is_called = false;
            self.free_for_tenants += 1;
        }
        // Who has used nothing of late has no account.
        if self.accounts.len() > ACCOUNTS {
            self.accounts.retain(|_, account| {
                let passed = now - account.at;
                account.is_called || account.used > passed / MEMORY || account.owed > passed / PART
            });
        }
    }

    /// A namespace's account as it is now.
    fn account(&mut self, namespace: &str, now: Instant) -> &mut Account {
        let (used, owed) = (self.used(namespace, now), self.owed(namespace, now));
        let account = self
            .accounts
            .entry(namespace.to_owned())
            .or_insert_with(|| Account {
                used,
                owed,
                at: now,
                turn: 0,
                is_called: false,
            });
        (account.used, account.owed, account.at) = (used, owed, now);
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens, in its order.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Log {
        fn note(&self, text: String) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }

        fn text(&self) -> String {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).join(" ")
        }
    }

    /// Calls components for a namespace, which takes that long: `a`, or `a!` where that is not to be.
    fn call(shares: &Shares, log: &Log, namespace: &str, whose: Whose, millis: u64) {
        let (shares, log, namespace) = (shares.clone(), log.clone(), namespace.to_owned());
        tokio::spawn(async move {
            match shares.permit(&namespace, whose).await {
                Ok(permit) => {
                    log.note(namespace);
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    drop(permit);
                }
                Err(_) => log.note(format!("{namespace}!")),
            }
        });
    }

    async fn pass(millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_the_turn_of_who_has_used_least() {
        let (shares, log) = (Shares::new(1), Log::default());
        for namespace in ["a", "a", "a", "a", "b", "c"] {
            call(&shares, &log, namespace, Whose::Operators, 100);
            pass(1).await;
        }
        pass(1000).await;
        assert_eq!(log.text(), "a b c a a a");
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_never_take_all_places_and_a_namespace_one() {
        let (shares, log) = (Shares::new(3), Log::default());
        for namespace in ["a", "a", "b", "c"] {
            call(&shares, &log, namespace, Whose::Tenants, 600);
            pass(1).await;
        }
        call(&shares, &log, "d", Whose::Operators, 10);
        pass(10).await;
        assert_eq!(log.text(), "a b d");
        pass(5000).await;
        assert_eq!(log.text(), "a b d c a");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_namespace_brings_along_has_a_part_of_the_time() {
        let (shares, log) = (Shares::new(2), Log::default());
        for _ in 0..15 {
            call(&shares, &log, "a", Whose::Tenants, 1000);
            pass(1001).await;
        }
        // Ten seconds at once, and a quarter of those that have passed.
        assert_eq!(log.text(), format!("{}a!", "a ".repeat(14)));
        call(&shares, &log, "a", Whose::Operators, 1);
        call(&shares, &log, "b", Whose::Tenants, 1);
        pass(10).await;
        assert!(log.text().ends_with("a! a b"), "{}", log.text());
        pass(60_000).await;
        call(&shares, &log, "a", Whose::Tenants, 1);
        pass(10).await;
        assert!(log.text().ends_with(" a b a"), "{}", log.text());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_so_and_takes_no_place() {
        let (shares, log) = (Shares::new(2), Log::default());
        for millis in [1500, 1, 1] {
            call(&shares, &log, "a", Whose::Tenants, millis);
            pass(1).await;
        }
        pass(1100).await;
        assert_eq!(log.text(), "a a! a!");
        pass(1000).await;
        call(&shares, &log, "a", Whose::Tenants, 1);
        pass(10).await;
        assert_eq!(log.text(), "a a! a! a");
    }
}
