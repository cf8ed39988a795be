//! Queue of plugins that wait to be loaded.
//!
//! Plugins of the cluster come first, and tenants can't delay them: plugins of namespaces never take all slots, and each
//! namespace takes one at a time. Among namespaces, the one that has waited longest is next.
//!
//! Suspects of tenants are tried alone. They come after all others, but others can't delay them forever: after [`PATIENCE`],
//! one suspect comes before other tenants. Namespaces take turns with their suspects.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::key::PluginId;
use crate::threads::LOADS;

/// Number of them that may be about plugins of namespaces.
const OF_NAMESPACES: usize = 2;

/// Time after which one suspect comes before other tenants.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plugins that wait to be loaded or are being loaded. No operation takes time in proportion to the number of waiting plugins
/// of a namespace.
#[derive(Debug, Default)]
pub(super) struct LoadQueue {
    /// Waiting plugins by namespace. Plugins of the cluster are under `None`, which comes first.
    waiting: BTreeMap<Option<String>, Queue>,
    running: Vec<PluginId>,
    /// Number of each namespace's last start, counted by `starts`.
    last_starts: BTreeMap<String, u64>,
    starts: u64,
    /// Number of the last call of [`LoadQueue::enqueue`]. Numbers determine the order in a queue.
    last_number: u64,
    suspects: Suspects,
}

/// Plugins that wait until they are tried alone.
#[derive(Debug, Default)]
struct Suspects {
    /// Waiting suspects by namespace. The first namespace is next.
    waiting: VecDeque<(Option<String>, VecDeque<PluginId>)>,
    /// Suspect that is being tried.
    running: Option<PluginId>,
    /// Time since which the waiting suspects have been waiting for others.
    since: Option<Instant>,
}

impl Suspects {
    fn enqueue(&mut self, id: PluginId) {
        self.since.get_or_insert_with(Instant::now);
        let of_namespace = self
            .waiting
            .iter_mut()
            .find(|(namespace, _)| *namespace == id.namespace);
        match of_namespace {
            Some((_, waiting)) if waiting.contains(&id) => {}
            Some((_, waiting)) => waiting.push_back(id),
            None => self
                .waiting
                .push_back((id.namespace.clone(), VecDeque::from([id]))),
        }
    }

    fn forget(&mut self, id: &PluginId) {
        for (_, waiting) in &mut self.waiting {
            waiting.retain(|waiting| waiting != id);
        }
        self.waiting.retain(|(_, waiting)| !waiting.is_empty());
        if self.waiting.is_empty() {
            self.since = None;
        }
    }

    /// Returns the next suspect of a namespace for which `is_busy` is false.
    fn next(&mut self, is_busy: impl Fn(&Option<String>) -> bool) -> Option<PluginId> {
        let index = self
            .waiting
            .iter()
            .position(|(namespace, _)| !is_busy(namespace))?;
        let (namespace, mut waiting) = self.waiting.remove(index)?;
        let id = waiting.pop_front()?;
        if !waiting.is_empty() {
            self.waiting.push_back((namespace, waiting));
        }
        self.running = Some(id.clone());
        Some(id)
    }

    fn ended(&mut self, id: &PluginId) {
        if self.running.take_if(|running| running == id).is_some() {
            self.since = (!self.waiting.is_empty()).then(Instant::now);
        }
    }

    /// Returns whether the suspects have waited long enough.
    fn are_due(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= PATIENCE)
    }
}

/// Waiting plugins of one namespace, first in, first out.
#[derive(Debug, Default)]
struct Queue {
    by_number: BTreeMap<u64, PluginId>,
    /// Number of each plugin, by name.
    numbers: BTreeMap<String, u64>,
}

impl LoadQueue {
    /// Enqueues a plugin, unless it is waiting already.
    pub(super) fn enqueue(&mut self, id: PluginId) {
        self.last_number += 1;
        let queue = self.waiting.entry(id.namespace.clone()).or_default();
        if !queue.numbers.contains_key(&id.name) {
            queue.numbers.insert(id.name.clone(), self.last_number);
            queue.by_number.insert(self.last_number, id);
        }
    }

    /// Enqueues a suspect of a tenant, which is to be tried alone, unless it is waiting already.
    pub(super) fn enqueue_suspect(&mut self, id: PluginId) {
        self.suspects.enqueue(id);
    }

    /// Removes a plugin from all queues.
    pub(super) fn forget(&mut self, id: &PluginId) {
        self.suspects.forget(id);
        self.dequeue(id);
    }

    /// Removes a plugin from the queue of those that are loaded beside others.
    fn dequeue(&mut self, id: &PluginId) {
        if let Some(queue) = self.waiting.get_mut(&id.namespace)
            && let Some(number) = queue.numbers.remove(&id.name)
        {
            queue.by_number.remove(&number);
            if queue.by_number.is_empty() {
                self.waiting.remove(&id.namespace);
            }
        }
    }

    /// Starts the next suspect, which runs alone until [`LoadQueue::ended`]. A suspect is started if nothing else is waiting or
    /// running, or if the suspects have waited long enough. `None` while another suspect is running, and while plugins of the
    /// cluster are waiting or running.
    pub(super) fn next_alone(&mut self) -> Option<PluginId> {
        let nothing_else = self.waiting.is_empty() && self.running.is_empty();
        if self.suspects.running.is_some() || !(nothing_else || self.suspects.are_due()) {
            return None;
        }
        let of_cluster =
            self.waiting.contains_key(&None) || self.running.iter().any(|id| id.namespace.is_none());
        if of_cluster || !self.has_slot_for_tenants() {
            return None;
        }
        let running = &self.running;
        let is_busy = |namespace: &Option<String>| running.iter().any(|id| id.namespace == *namespace);
        let id = self.suspects.next(is_busy)?;
        self.dequeue(&id);
        self.running.push(id.clone());
        Some(id)
    }

    /// Returns whether one more plugin of a namespace may run.
    fn has_slot_for_tenants(&self) -> bool {
        let of_namespaces = self.running.iter().filter(|id| id.namespace.is_some());
        self.running.len() < LOADS && of_namespaces.count() < OF_NAMESPACES
    }

    /// Starts the next plugin, which runs until [`LoadQueue::ended`]. `None` if there is no free slot or no plugin is waiting.
    pub(super) fn next(&mut self) -> Option<PluginId> {
        let namespace = self.next_namespace()?;
        let queue = self.waiting.get(&namespace)?;
        let id = queue.by_number.values().next()?.clone();
        self.dequeue(&id);
        if let Some(namespace) = &id.namespace {
            self.starts += 1;
            self.last_starts.insert(namespace.clone(), self.starts);
        }
        self.running.push(id.clone());
        Some(id)
    }

    /// Returns the namespace whose plugin is next: `Some(None)` for the cluster, and `None` if no plugin may start.
    fn next_namespace(&self) -> Option<Option<String>> {
        if self.running.len() >= LOADS {
            return None;
        }
        if self.waiting.contains_key(&None) {
            return Some(None);
        }
        if !self.has_slot_for_tenants() {
            return None;
        }
        let runs = |namespace: &Option<String>| self.running.iter().any(|id| id.namespace == *namespace);
        let last_start = |namespace: &Option<String>| {
            let namespace = namespace.as_ref()?;
            self.last_starts.get(namespace).copied()
        };
        let candidates = self.waiting.iter().filter(|(namespace, _)| !runs(namespace));
        let first = candidates.min_by_key(|(namespace, queue)| {
            let first = queue.by_number.keys().next().copied();
            (last_start(namespace), first)
        });
        first.map(|(namespace, _)| namespace.clone())
    }

    /// Frees the slot of an attempt that has ended.
    pub(super) fn ended(&mut self, id: &PluginId) {
        self.suspects.ended(id);
        if let Some(index) = self.running.iter().position(|running| running == id) {
            self.running.swap_remove(index);
        }
        if self.waiting.is_empty() && self.running.is_empty() {
            self.last_starts.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rstest::rstest;

    use super::*;

    /// Parses `a/p`, or `p` for a plugin of the cluster.
    fn id(text: &str) -> PluginId {
        let (namespace, name) = text.split_once('/').unzip();
        PluginId {
            namespace: namespace.map(str::to_owned),
            name: name.unwrap_or(text).to_owned(),
        }
    }

    fn text(id: &PluginId) -> String {
        match &id.namespace {
            Some(namespace) => format!("{namespace}/{}", id.name),
            None => id.name.clone(),
        }
    }

    /// Plugins that run if these are waiting and no attempt ends.
    #[rstest]
    #[case::of_the_cluster("p q r s", "p q r")]
    #[case::of_the_cluster_first("a/p p", "p a/p")]
    #[case::one_of_a_namespace("a/p a/q a/r", "a/p")]
    #[case::two_of_namespaces("a/p a/q b/p c/p", "a/p b/p")]
    fn starts_as_many_as_there_are_slots(#[case] waiting: &str, #[case] expected: &str) {
        let mut loads = LoadQueue::default();
        waiting.split(' ').for_each(|waiting| loads.enqueue(id(waiting)));
        let running: Vec<_> = std::iter::from_fn(|| loads.next()).collect();
        assert_eq!(running.iter().map(text).collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn namespaces_take_turns() {
        let mut loads = LoadQueue::default();
        for waiting in ["a/1", "a/2", "a/2", "a/3", "b/1", "b/2"] {
            loads.enqueue(id(waiting));
        }
        let mut order = Vec::new();
        let first = loads.next().unwrap_or_else(|| panic!("no plugin starts"));
        // Attempts run one after the other while a long one is running.
        order.push(text(&first));
        while let Some(next) = loads.next() {
            order.push(text(&next));
            loads.ended(&next);
        }
        assert_eq!(order, ["a/1", "b/1", "b/2"]);
        loads.ended(&first);
        loads.enqueue(id("b/3"));
        loads.enqueue(id("a/1"));
        loads.forget(&id("a/1"));
        while let Some(next) = loads.next() {
            order.push(text(&next));
            loads.ended(&next);
        }
        assert_eq!(order[3..], ["a/2", "b/3", "a/3"]);
    }

    /// A namespace with ten thousand plugins takes no more of the manager's time per plugin than one with ten: a scan of all
    /// waiting plugins for each new one would take minutes.
    #[test]
    fn the_cost_per_plugin_does_not_grow_with_the_queue() {
        let mut loads = LoadQueue::default();
        let begun = Instant::now();
        for round in 0..2 {
            for number in 0..10_000 {
                loads.enqueue(id(&format!("a/{number}")));
                assert_eq!(loads.next().is_some(), round + number == 0);
            }
        }
        for number in 1..10_000 {
            loads.forget(&id(&format!("a/{number}")));
            assert_eq!(loads.next(), None);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // The running plugin waits for its next attempt.
        loads.ended(&id("a/0"));
        assert_eq!(loads.next(), Some(id("a/0")));
        assert!(loads.waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn suspects_start_when_nothing_else_is_running() {
        let mut loads = LoadQueue::default();
        loads.enqueue(id("a/p"));
        assert_eq!(loads.next(), Some(id("a/p")));
        loads.enqueue_suspect(id("b/p"));
        loads.enqueue_suspect(id("b/p"));
        loads.enqueue_suspect(id("c/p"));
        assert_eq!(loads.next_alone(), None);
        loads.ended(&id("a/p"));
        assert_eq!(loads.next_alone(), Some(id("b/p")));
        assert_eq!(loads.next_alone(), None, "one of them at a time");
        loads.forget(&id("c/p"));
        loads.ended(&id("b/p"));
        assert_eq!(loads.next_alone(), None);
    }

    /// Neither namespaces that always have plugins to load, nor other suspects, can delay a suspect forever.
    #[tokio::test(start_paused = true)]
    async fn others_can_not_delay_a_suspect_forever() {
        let mut loads = LoadQueue::default();
        let busy = |loads: &mut LoadQueue| {
            for waiting in ["a/1", "a/2", "b/1", "b/2", "c/1"] {
                loads.enqueue(id(waiting));
            }
            while loads.next().is_some() {}
        };
        busy(&mut loads);
        for suspect in ["a/1", "a/2", "a/3", "victim/p"] {
            loads.enqueue_suspect(id(suspect));
        }
        for expected in ["a/1", "victim/p", "a/2"] {
            // Other plugins end and are enqueued again, in any number.
            for seconds in 0..60 {
                assert_eq!(loads.next_alone(), None, "{expected} after {seconds} s");
                tokio::time::advance(Duration::from_secs(1)).await;
                let ended = loads.running[0].clone();
                loads.ended(&ended);
                if seconds < 59 {
                    busy(&mut loads);
                }
            }
            // A plugin of the cluster still comes first.
            loads.enqueue(id("p"));
            assert_eq!(loads.next_alone(), None);
            assert_eq!(loads.next(), Some(id("p")));
            loads.ended(&id("p"));
            let running = loads.running.clone();
            running.iter().for_each(|running| loads.ended(running));
            let next = loads.next_alone();
            assert_eq!(next, Some(id(expected)));
            busy(&mut loads);
            loads.ended(&id(expected));
            // The resource is changed repeatedly, and its component is a suspect again.
            if expected == "a/1" {
                loads.enqueue_suspect(id("a/1"));
            }
        }
    }

    #[test]
    fn tenants_leave_a_slot_for_plugins_of_the_cluster() {
        let mut loads = LoadQueue::default();
        for namespace in ["a", "b", "c"] {
            loads.enqueue(id(&format!("{namespace}/p")));
        }
        while loads.next().is_some() {}
        loads.enqueue(id("p"));
        assert_eq!(loads.next(), Some(id("p")));
    }
}
