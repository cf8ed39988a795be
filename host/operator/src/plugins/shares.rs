//! Whose turn it is to be worked for, and for how long: every namespace has a share of the operator's time.
//!
//! Where many wait, it is the turn of the namespace that has used least of late. No namespace takes all places. Calls of
//! components that namespaces have brought along don't take all either, whosever they are; each namespace has one of these at a
//! time, and they use a part of a processor in the long run: what is beyond that is put off.

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
    /// Places that are free, and how many of them components of namespaces may take.
    free: usize,
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
    /// Time that all took for it, less what has passed since.
    used: Duration,
    /// Time that its own components took, less their part of what has passed since.
    owed: Duration,
    at: Instant,
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
    grant: oneshot::Sender<Permit>,
}

/// The right to one place, until it is dropped: what it took is charged then.
#[derive(Debug)]
pub struct Permit {
    shares: Shares,
    namespace: String,
    whose: Whose,
    begun: Instant,
}

impl Shares {
    /// Shares of the time of so many processors.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self(Arc::new(Mutex::new(Order {
            free: places(cores),
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
    pub async fn permit(&self, namespace: &str, whose: Whose) -> Result<Permit, Denied> {
        let (grant, granted) = oneshot::channel();
        {
            let mut order = self.lock();
            if whose == Whose::Tenants && order.owed(namespace, Instant::now()) >= BURST {
                let namespace = namespace.to_owned();
                return Err(Denied::Overdrawn { namespace });
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
        let account = self.accounts.get(&ticket.namespace);
        let (running, is_called) = account.map_or((0, false), |account| (account.running, account.is_called));
        let is_free = self.free > 0 && running < self.of_one;
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
            .min_by_key(|(place, Ticket { namespace, .. })| {
                (self.used(namespace, now), self.last_turn(namespace), *place)
            })?;
        let ticket = self.waiting.remove(place);
        self.free -= 1;
        self.turns += 1;
        let turn = self.turns;
        let account = self.account(&ticket.namespace, now);
        account.turn = turn;
        account.running += 1;
        if ticket.whose == Whose::Tenants {
            account.is_called = true;
            self.free_for_tenants -= 1;
        }
        Some(ticket)
    }

    /// What took so long has ended.
    fn ended(&mut self, namespace: &str, whose: Whose, took: Duration, now: Instant) {
        self.free += 1;
        let account = self.account(namespace, now);
        account.used += took;
        account.running -= 1;
        if whose == Whose::Tenants {
            account.owed += took;
            account.is_called = false;
            self.free_for_tenants += 1;
        }
        // Who has used nothing of late has no account.
        if self.accounts.len() > ACCOUNTS {
            self.accounts.retain(|_, account| {
                let passed = now - account.at;
                account.running > 0 || account.used > passed / MEMORY || account.owed > passed / PART
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
                running: 0,
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

    /// Calls components for a namespace, which takes that long: `a`; `a!` where they have used what is theirs, and `a?` where
    /// others were first.
    fn call(shares: &Shares, log: &Log, namespace: &str, whose: Whose, millis: u64) {
        let (shares, log, namespace) = (shares.clone(), log.clone(), namespace.to_owned());
        tokio::spawn(async move {
            match shares.permit(&namespace, whose).await {
                Ok(permit) => {
                    log.note(namespace);
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    drop(permit);
                }
                Err(Denied::Overdrawn { namespace }) => log.note(format!("{namespace}!")),
                Err(Denied::OthersFirst) => log.note(format!("{namespace}?")),
            }
        });
    }

    async fn pass(millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_the_turn_of_who_has_used_least() {
        let (shares, log) = (Shares::new(1), Log::default());
        // Beside one that takes long.
        call(&shares, &log, "x", Whose::Operators, 10_000);
        for namespace in ["a", "a", "a", "a", "b", "c"] {
            pass(1).await;
            call(&shares, &log, namespace, Whose::Operators, 100);
        }
        pass(1000).await;
        assert_eq!(log.text(), "x a b c a a a");
    }

    #[tokio::test(start_paused = true)]
    async fn no_namespace_takes_all_places() {
        let (shares, log) = (Shares::new(2), Log::default());
        for namespace in ["a", "a", "a", "b"] {
            call(&shares, &log, namespace, Whose::Operators, 1000);
            pass(1).await;
        }
        assert_eq!(log.text(), "a a b");
        pass(1000).await;
        assert_eq!(log.text(), "a a b a");
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
    async fn with_one_processor_tenants_leave_a_place_too() {
        let (shares, log) = (Shares::new(1), Log::default());
        for (namespace, whose) in [
            ("a", Whose::Tenants),
            ("b", Whose::Tenants),
            ("c", Whose::Operators),
        ] {
            call(&shares, &log, namespace, whose, 1000);
            pass(1).await;
        }
        assert_eq!(log.text(), "a c");
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
        for (namespace, millis) in [("a", 6000), ("b", 1), ("a", 1)] {
            call(&shares, &log, namespace, Whose::Tenants, millis);
            pass(1).await;
        }
        pass(5000).await;
        assert_eq!(log.text(), "a b? a?");
        pass(1000).await;
        call(&shares, &log, "b", Whose::Tenants, 1);
        pass(10).await;
        assert_eq!(log.text(), "a b? a? b");
    }

    /// Who is not first waits at most as long as those before take, and is not said to have used anything.
    #[tokio::test(start_paused = true)]
    async fn who_keeps_the_place_taken_holds_up_others_for_one_call_each() {
        let (shares, log) = (Shares::new(1), Log::default());
        let most = Whose::Tenants.time().as_millis() as u64;
        for namespace in ["a", "b", "a", "b", "c"] {
            call(&shares, &log, namespace, Whose::Tenants, most);
            pass(1).await;
        }
        pass(PATIENCE.as_millis() as u64).await;
        assert_eq!(log.text(), "a b c a? b?");
        assert_eq!(Denied::OthersFirst.reason(), "PluginsBusy");
    }
}
