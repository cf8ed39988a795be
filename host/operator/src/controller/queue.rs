//! Work queue of the keys that have to be reconciled, each with a due time.
//!
//! Each key is in the queue once, and one worker at a time processes it. A key that is added while it is processed is
//! requeued afterwards. A failed key waits for its back-off; only an urgent addition (a change of the object) shortens
//! that.
//!
//! Due keys are processed round-robin by tenant, and the number of concurrent workers for one tenant is limited: a
//! tenant with a thousand keys delays only its own keys.
//!
//! The queue is hand-written because `kube::runtime::Controller` and its `scheduler` lack four things:
//!
//! * Back-off and priority: their scheduler takes the earliest time of a key, so that any change, also one of the status,
//!   ends the back-off. Here only an urgent addition does.
//! * Backlog: the number of due keys and the longest wait are a metric, and liveness depends on the latter
//!   ([`WorkQueue::backlog`]). Their scheduler does not return them.
//! * Concurrency: each `Controller` has one kind of resource and a limit of its own. The four Dask kinds share one limit
//!   here.
//! * Tenants: their scheduler starts whatever key is due. Here the namespaces take turns, and no namespace can use all
//!   workers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::Hash;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Priority of an addition to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Processed when the due time is reached and the back-off after a failure has ended.
    Usual,
    /// Processed when the due time is reached, also during the back-off after a failure.
    Urgent,
}

/// A key that belongs to a tenant of the shared queue.
pub(crate) trait Tenant {
    /// Returns the name of the tenant.
    fn tenant(&self) -> &str;
}

#[derive(Debug, Default)]
struct Entry {
    /// Due time; `None` if the key is only being processed.
    due: Option<Instant>,
    /// True if the key is due and in the list of its tenant.
    ready: bool,
    /// End of the back-off: the key is not processed earlier, unless it is urgent.
    not_before: Option<Instant>,
    /// True if the key became urgent while it was being processed: the result of that run says nothing about the new
    /// state.
    urgent: bool,
    /// True while the key is being processed.
    running: bool,
}

/// Number of outdated due times that the heap may contain, in addition to one for each entry.
const SLACK: usize = 1024;

/// The keys of one tenant that are due or being processed.
#[derive(Debug)]
struct TenantKeys<K> {
    /// Keys that are due, in the order of their due times.
    ready: VecDeque<K>,
    /// Number of keys that are being processed.
    running: usize,
}

#[derive(Debug)]
struct Inner<K> {
    entries: HashMap<K, Entry>,
    /// Due times. Outdated ones, which differ from that of the entry, are skipped.
    heap: BinaryHeap<Reverse<(Instant, K)>>,
    /// Keys that are due or being processed, by tenant.
    by_tenant: HashMap<Box<str>, TenantKeys<K>>,
    /// Tenants with due keys. The tenant that has waited longest is first.
    round_robin: VecDeque<Box<str>>,
}

impl<K: Clone + Eq + Hash + Ord + Tenant> Inner<K> {
    /// Adds a due time for `key`. A key with a late due time that is added earlier again and again leaves outdated due
    /// times behind; they are removed when there are too many of them.
    fn push(&mut self, at: Instant, key: K) {
        self.heap.push(Reverse((at, key)));
        if self.heap.len() > 2 * self.entries.len() + SLACK {
            let due = self
                .entries
                .iter()
                .filter(|(_, entry)| !entry.running && !entry.ready);
            let due = due.filter_map(|(key, entry)| Some(Reverse((entry.due?, key.clone()))));
            self.heap = due.collect();
        }
    }

    /// Returns the keys of the tenant of `key`.
    fn keys_of(&mut self, key: &K) -> &mut TenantKeys<K> {
        self.by_tenant
            .entry(key.tenant().into())
            .or_insert_with(|| TenantKeys {
                ready: VecDeque::new(),
                running: 0,
            })
    }

    /// Moves all keys that are due to the lists of their tenants. Returns the due time of the next key, if there is
    /// one.
    fn promote_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        while let Some(Reverse((at, _))) = self.heap.peek() {
            if *at > now {
                return Some(*at);
            }
            let Some(Reverse((at, key))) = self.heap.pop() else {
                break;
            };
            let entry = self.entries.get_mut(&key);
            let Some(entry) = entry.filter(|entry| entry.due == Some(at) && !entry.running && !entry.ready)
            else {
                continue;
            };
            entry.ready = true;
            let keys = self.keys_of(&key);
            let is_only_one = keys.ready.is_empty();
            let tenant: Box<str> = key.tenant().into();
            keys.ready.push_back(key);
            if is_only_one {
                self.round_robin.push_back(tenant);
            }
        }
        None
    }

    /// Returns the next key of the tenant that has waited longest. Skips a tenant of which `share` keys are being
    /// processed.
    fn take(&mut self, share: usize) -> Option<K> {
        for _ in 0..self.round_robin.len() {
            let tenant = self.round_robin.pop_front()?;
            let Some(keys) = self.by_tenant.get_mut(&tenant) else {
                continue;
            };
            let key = if keys.running < share {
                keys.ready.pop_front()
            } else {
                None
            };
            if let Some(key) = &key {
                keys.running += 1;
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.running = true;
                    entry.ready = false;
                    entry.due = None;
                }
            }
            if !keys.ready.is_empty() {
                self.round_robin.push_back(tenant);
            }
            if key.is_some() {
                return key;
            }
        }
        None
    }

    /// Records that a worker has finished `key`.
    fn finished(&mut self, key: &K) {
        if let Some(keys) = self.by_tenant.get_mut(key.tenant()) {
            keys.running = keys.running.saturating_sub(1);
            if keys.running == 0 && keys.ready.is_empty() {
                self.by_tenant.remove(key.tenant());
            }
        }
    }
}

/// Work queue of keys with due times.
#[derive(Debug)]
pub(crate) struct WorkQueue<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
}

impl<K: Clone + Eq + Hash + Ord + Tenant> Default for WorkQueue<K> {
    fn default() -> Self {
        let inner = Mutex::new(Inner {
            entries: HashMap::new(),
            heap: BinaryHeap::new(),
            by_tenant: HashMap::new(),
            round_robin: VecDeque::new(),
        });
        Self {
            inner,
            changed: Notify::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord + Tenant> WorkQueue<K> {
    /// Adds `key` with the due time `at`. An earlier due time that is already in the queue stays.
    pub(crate) fn add(&self, key: K, at: Instant, priority: Priority) {
        {
            let mut inner = self.inner.lock();
            let entry = inner.entries.entry(key.clone()).or_default();
            let at = match (priority, entry.not_before) {
                (Priority::Usual, Some(not_before)) => at.max(not_before),
                (Priority::Urgent, _) => {
                    entry.not_before = None;
                    entry.urgent |= entry.running;
                    at
                }
                (Priority::Usual, None) => at,
            };
            if entry.due.is_some_and(|due| due <= at) {
                return;
            }
            entry.due = Some(at);
            if entry.running {
                return;
            }
            inner.push(at, key);
        }
        self.changed.notify_one();
    }

    /// Waits for the next due key of a tenant of which fewer than `share` keys are being processed. The caller must
    /// return it with [`WorkQueue::done`].
    pub(crate) async fn next(&self, share: usize) -> K {
        loop {
            let changed = self.changed.notified();
            let earliest = match self.take_due(share) {
                Ok(key) => return key,
                Err(earliest) => earliest,
            };
            match earliest {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Returns a key that is due, or the due time of the next key.
    fn take_due(&self, share: usize) -> Result<K, Option<Instant>> {
        let mut inner = self.inner.lock();
        let next = inner.promote_due();
        inner.take(share).ok_or(next)
    }

    /// Ends the processing of `key`, and requeues it at `again`, if given. With `failed`, the key is not processed
    /// earlier than that, unless it is urgent.
    pub(crate) fn done(&self, key: K, again: Option<Instant>, failed: bool) {
        {
            let mut inner = self.inner.lock();
            inner.finished(&key);
            let Some(entry) = inner.entries.get_mut(&key) else {
                return;
            };
            entry.running = false;
            let urgent = std::mem::take(&mut entry.urgent);
            entry.not_before = again.filter(|_| failed && !urgent);
            let added = match entry.not_before {
                Some(not_before) => entry.due.map(|due| due.max(not_before)),
                None => entry.due,
            };
            entry.due = match (added, again) {
                (Some(added), Some(again)) => Some(added.min(again)),
                (added, again) => added.or(again),
            };
            match entry.due {
                Some(due) => inner.push(due, key),
                None => {
                    inner.entries.remove(&key);
                }
            }
        }
        self.changed.notify_one();
    }

    /// Returns the number of due keys that wait for a worker, and the longest wait.
    #[must_use]
    pub(crate) fn backlog(&self) -> (usize, std::time::Duration) {
        let now = Instant::now();
        let inner = self.inner.lock();
        let due = inner
            .entries
            .values()
            .filter(|entry| !entry.running)
            .filter_map(|entry| entry.due);
        let (mut depth, mut longest) = (0, std::time::Duration::ZERO);
        for at in due.filter(|at| *at <= now) {
            depth += 1;
            longest = longest.max(now - at);
        }
        (depth, longest)
    }
}

#[cfg(test)]
mod tests;
