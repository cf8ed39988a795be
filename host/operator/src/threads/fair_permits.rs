//! Permits for calls of components: each namespace has a share of the operator's time.
//!
//! If many wait, the namespace that has used least recently goes first. No namespace has all permits. Heavy work never has all
//! permits together, so that one is left for light work. Components of namespaces never have all permits together either; each
//! namespace has one of these at a time, and they use a limited part of a processor in the long run. Calls beyond that are refused
//! and must be retried.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dask_operator_evaluator::logic::PluginOwner;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::leaky_bucket::LeakyBucket;
use crate::threads::Weight;

/// Factor by which time counts for a namespace's order: used time is forgotten after this many times its length.
const MEMORY: u32 = 16;

/// Deadline of all calls under one permit: as long as the API server waits for the webhook.
const TIME: Duration = Duration::from_secs(10);

/// Deadline of all calls of a namespace's own components under one permit.
const TIME_OF_TENANTS: Duration = Duration::from_secs(2);

/// Longest wait of a namespace's own components for a permit: longer than another one can use it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Number of accounts that are stored without a check for unused ones.
const ACCOUNTS: usize = 64;

/// Returns the number of permits on a machine with this number of processors: one more than a namespace may have.
pub(crate) const fn permits(cores: usize) -> usize {
    cores + 1
}

/// Returns the deadline of all calls of components of this owner under one permit.
pub(crate) fn call_time(owner: PluginOwner) -> Duration {
    match owner {
        PluginOwner::Administrator => TIME,
        PluginOwner::Tenant => TIME_OF_TENANTS,
    }
}

/// Reason why a namespace's own components are not called now.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum PermitError {
    /// The components have used up their share of time.
    #[error(
        "the plugins of the namespace {namespace} take more time than is theirs, which is a quarter of a processor in the long \
         run; they are asked again later: make them faster, or have fewer of them"
    )]
    Overdrawn {
        /// The namespace.
        namespace: String,
    },
    /// No permit was free in time.
    #[error(
        "plugins of namespaces are asked in turn, one for each namespace at a time, and others were first; it is tried again in \
         a few seconds"
    )]
    OthersFirst,
}

/// Permits that share the operator's time. Clones share the same permits.
#[derive(Clone, Debug)]
pub(crate) struct FairPermits(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Number of free permits. `free_for_heavy` of them may go to heavy work, and `free_for_tenants` to components of namespaces.
    free: usize,
    free_for_heavy: usize,
    free_for_tenants: usize,
    /// Number of permits that one namespace may have.
    per_namespace: usize,
    accounts: BTreeMap<String, Account>,
    /// Number of permits that have been granted.
    grants: u64,
    /// Waiting requests, oldest first.
    waiting: Vec<Request>,
}

/// Account of a namespace.
#[derive(Debug)]
struct Account {
    /// Time that all components used for it.
    usage: LeakyBucket,
    /// Time that its own components used.
    own_usage: LeakyBucket,
    /// Number of its last permit.
    last_grant: u64,
    /// Permits that it has.
    running: usize,
    /// True while a component of its own is called.
    is_called: bool,
}

/// Waiting request for a permit.
#[derive(Debug)]
struct Request {
    namespace: String,
    owner: PluginOwner,
    weight: Weight,
    grant: oneshot::Sender<Permit>,
}

/// Permit to call components, until it is dropped. Its duration is charged to the namespace then.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: FairPermits,
    namespace: String,
    owner: PluginOwner,
    weight: Weight,
    begun: Instant,
}

impl FairPermits {
    /// Creates permits for a machine with this number of processors.
    #[must_use]
    pub(crate) fn new(cores: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: permits(cores),
            free_for_heavy: permits(cores) - 1,
            free_for_tenants: cores.saturating_sub(1).max(1),
            per_namespace: cores.max(1),
            accounts: BTreeMap::new(),
            grants: 0,
            waiting: Vec::new(),
        })))
    }

    /// Waits for a permit to call components for a namespace.
    ///
    /// # Errors
    ///
    /// Returns an error if the namespace's own components have used up their share, or if no permit was free for too long.
    pub(crate) async fn permit(
        &self,
        namespace: &str,
        owner: PluginOwner,
        weight: Weight,
    ) -> Result<Permit, PermitError> {
        let (grant, granted) = oneshot::channel();
        {
            let mut state = self.0.lock();
            let account = state.accounts.get(namespace);
            let is_overdrawn = account.is_some_and(|account| account.own_usage.is_overdrawn(Instant::now()));
            if owner == PluginOwner::Tenant && is_overdrawn {
                let namespace = namespace.to_owned();
                return Err(PermitError::Overdrawn { namespace });
            }
            state.waiting.push(Request {
                namespace: namespace.to_owned(),
                owner,
                weight,
                grant,
            });
        }
        self.grant_free();
        let granted = match owner {
            PluginOwner::Administrator => granted.await.ok(),
            PluginOwner::Tenant => tokio::time::timeout(PATIENCE, granted)
                .await
                .ok()
                .and_then(Result::ok),
        };
        granted.ok_or(PermitError::OthersFirst)
    }

    /// Grants all permits that are free.
    fn grant_free(&self) {
        let mut granted = Vec::new();
        {
            let mut state = self.0.lock();
            let now = Instant::now();
            while let Some(Request {
                namespace,
                owner,
                weight,
                grant,
            }) = state.next(now)
            {
                let permit = Permit {
                    permits: self.clone(),
                    namespace,
                    owner,
                    weight,
                    begun: now,
                };
                granted.push((grant, permit));
            }
        }
        for (grant, permit) in granted {
            // If the receiver no longer waits, the permit is dropped and thereby released.
            drop(grant.send(permit));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        self.permits.0.lock().ended(self, now);
        self.permits.grant_free();
    }
}

impl State {
    /// Returns the time that a namespace used recently, and the number of its last permit.
    fn usage(&self, namespace: &str, now: Instant) -> (Duration, u64) {
        let account = self.accounts.get(namespace);
        account.map_or_else(Default::default, |account| {
            (account.usage.level(now), account.last_grant)
        })
    }

    fn may_run(&self, request: &Request) -> bool {
        let account = self.accounts.get(&request.namespace);
        let (running, is_called) = account.map_or((0, false), |account| (account.running, account.is_called));
        let is_free = self.free > 0
            && running < self.per_namespace
            && (request.weight == Weight::Light || self.free_for_heavy > 0);
        match request.owner {
            PluginOwner::Administrator => is_free,
            PluginOwner::Tenant => is_free && self.free_for_tenants > 0 && !is_called,
        }
    }

    /// Takes the next request from the queue and counts its permit.
    fn next(&mut self, now: Instant) -> Option<Request> {
        self.waiting.retain(|request| !request.grant.is_closed());
        let candidates = self.waiting.iter().enumerate();
        let (index, _) = candidates
            .filter(|(_, request)| self.may_run(request))
            .min_by_key(|(index, Request { namespace, .. })| (self.usage(namespace, now), *index))?;
        let request = self.waiting.remove(index);
        self.free -= 1;
        self.grants += 1;
        let last_grant = self.grants;
        let account = self
            .accounts
            .entry(request.namespace.clone())
            .or_insert_with(|| Account {
                usage: LeakyBucket::new(MEMORY, now),
                own_usage: LeakyBucket::for_own_components(now),
                last_grant: 0,
                running: 0,
                is_called: false,
            });
        account.last_grant = last_grant;
        account.running += 1;
        if request.weight == Weight::Heavy {
            self.free_for_heavy -= 1;
        }
        if request.owner == PluginOwner::Tenant {
            account.is_called = true;
            self.free_for_tenants -= 1;
        }
        Some(request)
    }

    /// Releases a permit and charges its duration.
    fn ended(&mut self, permit: &Permit, now: Instant) {
        let (owner, took) = (permit.owner, now - permit.begun);
        self.free += 1;
        if permit.weight == Weight::Heavy {
            self.free_for_heavy += 1;
        }
        if owner == PluginOwner::Tenant {
            self.free_for_tenants += 1;
        }
        // A namespace with a permit has an account.
        if let Some(account) = self.accounts.get_mut(&permit.namespace) {
            account.usage.add(took, now);
            account.running -= 1;
            if owner == PluginOwner::Tenant {
                account.own_usage.add(took, now);
                account.is_called = false;
            }
        }
        // Accounts without recently used time are removed.
        if self.accounts.len() > ACCOUNTS {
            // The time of a namespace's own components is forgotten before that.
            self.accounts
                .retain(|_, account| account.running > 0 || !account.usage.level(now).is_zero());
        }
    }
}

#[cfg(test)]
mod tests;
