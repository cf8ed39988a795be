//! What is to be reconciled, and when.
//!
//! Each key stands in the queue once and is worked on by one at a time. What is
//! added while it is worked on comes again afterwards. A key that failed waits:
//! only an urgent addition (somebody changed the object) shortens that.
//!
//! What is due is worked on in turn, one key of each tenant after another, and no
//! tenant has more than its share of those who work: whoever has a thousand keys
//! delays his own and nobody else's.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// How much an addition matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// As soon as its time has come and a failure's wait is over.
    Usual,
    /// As soon as its time has come.
    Urgent,
}

/// What belongs to somebody with whom others share the queue.
pub trait Tenant {
    /// Whom it belongs to.
    fn tenant(&self) -> &str;
}

#[derive(Debug, Default)]
struct Entry {
    /// When it is due; none while nothing is wanted.
    due: Option<Instant>,
    /// It is due, and stands among those of its tenant.
    ready: bool,
    /// Not to be worked on before, unless it is urgent.
    not_before: Option<Instant>,
    /// It became urgent while somebody works on it: what comes of that says nothing about it any more.
    urgent: bool,
    /// Somebody works on it.
    running: bool,
}

/// So many due times may be left over that no longer are an entry's, beside one for each entry.
const SLACK: usize = 1024;

/// The keys of one tenant that are due or worked on.
#[derive(Debug)]
struct Turn<K> {
    /// Those that are due, in that order.
    ready: VecDeque<K>,
    /// How many are worked on.
    running: usize,
}

#[derive(Debug)]
struct Inner<K> {
    entries: HashMap<K, Entry>,
    /// Due times. Those that no longer are an entry's are skipped.
    heap: BinaryHeap<Reverse<(Instant, K)>>,
    /// What is due or worked on, by tenant.
    turns: HashMap<Box<str>, Turn<K>>,
    /// The tenants with keys that are due: who has waited longest comes next.
    waiting: VecDeque<Box<str>>,
}

impl<K: Clone + Eq + Hash + Ord + Tenant> Inner<K> {
    /// Notes that `key` is due then. Who comes early again and again, and would come in an hour otherwise, leaves no
    /// time behind for each.
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

    /// The turn of the tenant of `key`.
    fn turn(&mut self, key: &K) -> &mut Turn<K> {
        self.turns.entry(key.tenant().into()).or_insert_with(|| Turn {
            ready: VecDeque::new(),
            running: 0,
        })
    }

    /// Puts what is due by now among what its tenant waits for. Gives when the next will be due.
    fn ripen(&mut self) -> Option<Instant> {
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
            let turn = self.turn(&key);
            let comes_first = turn.ready.is_empty();
            let tenant: Box<str> = key.tenant().into();
            turn.ready.push_back(key);
            if comes_first {
                self.waiting.push_back(tenant);
            }
        }
        None
    }

    /// The next key of the tenant whose turn it is. One that has `share` keys at work is passed over.
    fn take(&mut self, share: usize) -> Option<K> {
        for _ in 0..self.waiting.len() {
            let tenant = self.waiting.pop_front()?;
            let Some(turn) = self.turns.get_mut(&tenant) else {
                continue;
            };
            let key = if turn.running < share {
                turn.ready.pop_front()
            } else {
                None
            };
            if let Some(key) = &key {
                turn.running += 1;
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.running = true;
                    entry.ready = false;
                    entry.due = None;
                }
            }
            if !turn.ready.is_empty() {
                self.waiting.push_back(tenant);
            }
            if key.is_some() {
                return key;
            }
        }
        None
    }

    /// The work on `key` has ended.
    fn ended(&mut self, key: &K) {
        if let Some(turn) = self.turns.get_mut(key.tenant()) {
            turn.running = turn.running.saturating_sub(1);
            if turn.running == 0 && turn.ready.is_empty() {
                self.turns.remove(key.tenant());
            }
        }
    }
}

/// Keys with due times.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
}

impl<K: Clone + Eq + Hash + Ord + Tenant> Default for Queue<K> {
    fn default() -> Self {
        let inner = Mutex::new(Inner {
            entries: HashMap::new(),
            heap: BinaryHeap::new(),
            turns: HashMap::new(),
            waiting: VecDeque::new(),
        });
        Self {
            inner,
            changed: Notify::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord + Tenant> Queue<K> {
    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants `key` to be worked on at `at`, or earlier where that is wanted
    /// already.
    pub fn add(&self, key: K, at: Instant, urgency: Urgency) {
        {
            let mut inner = self.lock();
            let entry = inner.entries.entry(key.clone()).or_default();
            let at = match (urgency, entry.not_before) {
                (Urgency::Usual, Some(not_before)) => at.max(not_before),
                (Urgency::Urgent, _) => {
                    entry.not_before = None;
                    entry.urgent |= entry.running;
                    at
                }
                (Urgency::Usual, None) => at,
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

    /// The next key that is due, as soon as there is one whose tenant has fewer than `share` at work. It has to be given
    /// back with [`Queue::done`].
    pub async fn next(&self, share: usize) -> K {
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

    /// A key that is due, or when the next will be.
    fn take_due(&self, share: usize) -> Result<K, Option<Instant>> {
        let mut inner = self.lock();
        let next = inner.ripen();
        inner.take(share).ok_or(next)
    }

    /// Ends the work on `key`. It comes again at `again`; with `failed` not
    /// before that, unless it is urgent.
    pub fn done(&self, key: K, again: Option<Instant>, failed: bool) {
        {
            let mut inner = self.lock();
            inner.ended(&key);
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

    /// How many keys are due and wait for somebody to work on them, and for how
    /// long the first of them has waited.
    #[must_use]
    pub fn backlog(&self) -> (usize, std::time::Duration) {
        let now = Instant::now();
        let inner = self.lock();
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
