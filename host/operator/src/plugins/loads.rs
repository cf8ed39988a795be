//! Whose turn it is to be loaded.
//!
//! Plugins of the cluster come first, and no tenant keeps them waiting: plugins of namespaces never take all places, and a
//! namespace takes one at a time. Among namespaces it is the turn of the one that has waited longest.
//!
//! Suspects of tenants are tried alone. They come after all others, but no others keep them waiting for ever: once in a while
//! one of them has its turn before other tenants, and namespaces take these turns in rotation.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::PluginId;

/// Attempts that run at once. Each keeps one thread busy at most.
pub(crate) const AT_ONCE: usize = 3;

/// How many of them may be about plugins of namespaces.
const OF_NAMESPACES: usize = 2;

/// How long suspects wait until one of them comes before other tenants.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plugins that wait to be loaded, and those that are being loaded. Nothing is looked at that grows with how many of a
/// namespace wait.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// Those that wait, of each namespace; those of the cluster under none, which comes first.
    waiting: BTreeMap<Option<String>, Queue>,
    running: Vec<PluginId>,
    /// The number of each namespace's last turn.
    turns: BTreeMap<String, u64>,
    turn: u64,
    /// How many have come.
    came: u64,
    suspects: Suspects,
}

/// Plugins that wait until they are tried alone.
#[derive(Debug, Default)]
struct Suspects {
    /// Those of each namespace. The first namespace is the next.
    waiting: VecDeque<(Option<String>, VecDeque<PluginId>)>,
    /// The one whose turn it is.
    running: Option<PluginId>,
    /// Since when others have been before those that wait.
    since: Option<Instant>,
}

impl Suspects {
    fn wait(&mut self, id: PluginId) {
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

    /// The next one of a namespace that is not at work.
    fn next(&mut self, is_at_work: impl Fn(&Option<String>) -> bool) -> Option<PluginId> {
        let place = self
            .waiting
            .iter()
            .position(|(namespace, _)| !is_at_work(namespace))?;
        let (namespace, mut waiting) = self.waiting.remove(place)?;
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

    /// Whether they have waited for others long enough.
    fn are_due(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= PATIENCE)
    }
}

/// Plugins of one namespace that wait. Who came first is first.
#[derive(Debug, Default)]
struct Queue {
    by_place: BTreeMap<u64, PluginId>,
    places: BTreeMap<String, u64>,
}

impl Loads {
    /// A plugin waits for its turn from now on, unless it does already.
    pub(super) fn wait(&mut self, id: PluginId) {
        self.came += 1;
        let queue = self.waiting.entry(id.namespace.clone()).or_default();
        if !queue.places.contains_key(&id.name) {
            queue.places.insert(id.name.clone(), self.came);
            queue.by_place.insert(self.came, id);
        }
    }

    /// A suspect of a tenant waits from now on until it is tried alone, unless it does already.
    pub(super) fn wait_alone(&mut self, id: PluginId) {
        self.suspects.wait(id);
    }

    /// A plugin waits no more.
    pub(super) fn forget(&mut self, id: &PluginId) {
        self.suspects.forget(id);
        self.leave(id);
    }

    /// A plugin does not wait for a turn beside others any more.
    fn leave(&mut self, id: &PluginId) {
        if let Some(queue) = self.waiting.get_mut(&id.namespace)
            && let Some(place) = queue.places.remove(&id.name)
        {
            queue.by_place.remove(&place);
            if queue.by_place.is_empty() {
                self.waiting.remove(&id.namespace);
            }
        }
    }

    /// The suspect whose turn it is to be tried alone, which runs until [`Loads::ended`]: when nothing else is to be done, or
    /// when suspects have waited long enough. None where another one runs, and none while plugins of the cluster
    /// wait or run.
    pub(super) fn next_alone(&mut self) -> Option<PluginId> {
        let nothing_else = self.waiting.is_empty() && self.running.is_empty();
        if self.suspects.running.is_some() || !(nothing_else || self.suspects.are_due()) {
            return None;
        }
        let of_cluster =
            self.waiting.contains_key(&None) || self.running.iter().any(|id| id.namespace.is_none());
        if of_cluster || !self.has_place_for_tenants() {
            return None;
        }
        let running = &self.running;
        let is_at_work = |namespace: &Option<String>| running.iter().any(|id| id.namespace == *namespace);
        let id = self.suspects.next(is_at_work)?;
        self.leave(&id);
        self.running.push(id.clone());
        Some(id)
    }

    /// Whether one more plugin of a namespace may run.
    fn has_place_for_tenants(&self) -> bool {
        let of_namespaces = self.running.iter().filter(|id| id.namespace.is_some());
        self.running.len() < AT_ONCE && of_namespaces.count() < OF_NAMESPACES
    }

    /// The one whose turn it is, which runs until [`Loads::ended`]; none where nobody may run or nobody waits.
    pub(super) fn next(&mut self) -> Option<PluginId> {
        let namespace = self.next_namespace()?;
        let queue = self.waiting.get(&namespace)?;
        let id = queue.by_place.values().next()?.clone();
        self.leave(&id);
        if let Some(namespace) = &id.namespace {
            self.turn += 1;
            self.turns.insert(namespace.clone(), self.turn);
        }
        self.running.push(id.clone());
        Some(id)
    }

    /// Whose turn it is.
    fn next_namespace(&self) -> Option<Option<String>> {
        if self.running.len() >= AT_ONCE {
            return None;
        }
        if self.waiting.contains_key(&None) {
            return Some(None);
        }
        if !self.has_place_for_tenants() {
            return None;
        }
        let runs = |namespace: &Option<String>| self.running.iter().any(|id| id.namespace == *namespace);
        let last_turn = |namespace: &Option<String>| {
            let namespace = namespace.as_ref()?;
            self.turns.get(namespace).copied()
        };
        let candidates = self.waiting.iter().filter(|(namespace, _)| !runs(namespace));
        let first = candidates.min_by_key(|(namespace, queue)| {
            let place = queue.by_place.keys().next().copied();
            (last_turn(namespace), place)
        });
        first.map(|(namespace, _)| namespace.clone())
    }

    /// An attempt has ended.
    pub(super) fn ended(&mut self, id: &PluginId) {
        self.suspects.ended(id);
        if let Some(place) = self.running.iter().position(|running| running == id) {
            self.running.swap_remove(place);
        }
        if self.waiting.is_empty() && self.running.is_empty() {
            self.turns.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rstest::rstest;

    use super::*;

    /// `a/p`, or `p` for one of the cluster.
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

    /// Who has its turn when these wait, as long as nobody ends.
    #[rstest]
    #[case::of_the_cluster("p q r s", "p q r")]
    #[case::of_the_cluster_first("a/p p", "p a/p")]
    #[case::one_of_a_namespace("a/p a/q a/r", "a/p")]
    #[case::two_of_namespaces("a/p a/q b/p c/p", "a/p b/p")]
    fn who_runs_at_once(#[case] waiting: &str, #[case] expected: &str) {
        let mut loads = Loads::default();
        waiting.split(' ').for_each(|waiting| loads.wait(id(waiting)));
        let running: Vec<_> = std::iter::from_fn(|| loads.next()).collect();
        assert_eq!(running.iter().map(text).collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn no_namespace_waits_for_all_of_another_one() {
        let mut loads = Loads::default();
        for waiting in ["a/1", "a/2", "a/2", "a/3", "b/1", "b/2"] {
            loads.wait(id(waiting));
        }
        let mut order = Vec::new();
        let first = loads.next().unwrap_or_else(|| panic!("nobody runs"));
        // One after the other, beside one that takes long.
        order.push(text(&first));
        while let Some(next) = loads.next() {
            order.push(text(&next));
            loads.ended(&next);
        }
        assert_eq!(order, ["a/1", "b/1", "b/2"]);
        loads.ended(&first);
        loads.wait(id("b/3"));
        loads.wait(id("a/1"));
        loads.forget(&id("a/1"));
        while let Some(next) = loads.next() {
            order.push(text(&next));
            loads.ended(&next);
        }
        assert_eq!(order[3..], ["a/2", "b/3", "a/3"]);
    }

    /// A namespace with ten thousand plugins keeps the manager no longer than one with ten: a scan of all that wait for each
    /// that comes takes minutes.
    #[test]
    fn many_that_wait_cost_no_more_each() {
        let mut loads = Loads::default();
        let begun = Instant::now();
        for round in 0..2 {
            for number in 0..10_000 {
                loads.wait(id(&format!("a/{number}")));
                assert_eq!(loads.next().is_some(), round + number == 0);
            }
        }
        for number in 1..10_000 {
            loads.forget(&id(&format!("a/{number}")));
            assert_eq!(loads.next(), None);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // The one that runs waits for its next turn.
        loads.ended(&id("a/0"));
        assert_eq!(loads.next(), Some(id("a/0")));
        assert!(loads.waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn suspects_are_tried_when_nothing_else_is() {
        let mut loads = Loads::default();
        loads.wait(id("a/p"));
        assert_eq!(loads.next(), Some(id("a/p")));
        loads.wait_alone(id("b/p"));
        loads.wait_alone(id("b/p"));
        loads.wait_alone(id("c/p"));
        assert_eq!(loads.next_alone(), None);
        loads.ended(&id("a/p"));
        assert_eq!(loads.next_alone(), Some(id("b/p")));
        assert_eq!(loads.next_alone(), None, "one of them at a time");
        loads.forget(&id("c/p"));
        loads.ended(&id("b/p"));
        assert_eq!(loads.next_alone(), None);
    }

    /// Namespaces that always have something to load keep no suspect waiting for ever, and neither do other suspects.
    #[tokio::test(start_paused = true)]
    async fn a_suspect_has_its_turn_whatever_others_do() {
        let mut loads = Loads::default();
        let busy = |loads: &mut Loads| {
            for waiting in ["a/1", "a/2", "b/1", "b/2", "c/1"] {
                loads.wait(id(waiting));
            }
            while loads.next().is_some() {}
        };
        busy(&mut loads);
        for suspect in ["a/1", "a/2", "a/3", "victim/p"] {
            loads.wait_alone(id(suspect));
        }
        for expected in ["a/1", "victim/p", "a/2"] {
            // Those that are busy end and come again, in any number.
            for seconds in 0..60 {
                assert_eq!(loads.next_alone(), None, "{expected} after {seconds} s");
                tokio::time::advance(Duration::from_secs(1)).await;
                let ended = loads.running[0].clone();
                loads.ended(&ended);
                if seconds < 59 {
                    busy(&mut loads);
                }
            }
            // One of the cluster comes first, even then.
            loads.wait(id("p"));
            assert_eq!(loads.next_alone(), None);
            assert_eq!(loads.next(), Some(id("p")));
            loads.ended(&id("p"));
            let running = loads.running.clone();
            running.iter().for_each(|running| loads.ended(running));
            let next = loads.next_alone();
            assert_eq!(next, Some(id(expected)));
            busy(&mut loads);
            loads.ended(&id(expected));
            // It is changed again and again, and suspected anew.
            if expected == "a/1" {
                loads.wait_alone(id("a/1"));
            }
        }
    }

    #[test]
    fn one_of_the_cluster_finds_a_place_whatever_tenants_do() {
        let mut loads = Loads::default();
        for namespace in ["a", "b", "c"] {
            loads.wait(id(&format!("{namespace}/p")));
        }
        while loads.next().is_some() {}
        loads.wait(id("p"));
        assert_eq!(loads.next(), Some(id("p")));
    }
}
