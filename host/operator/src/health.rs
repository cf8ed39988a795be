//! Whether the operator does its work.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::leading::Leading;
use crate::watches::WATCH_SECONDS;

/// A watch is begun at least that often, unless it is stuck.
const WATCH_BEGINS: Duration = Duration::from_secs(3 * WATCH_SECONDS as u64);

/// Something that is due is worked on within that time, unless the queue is
/// stuck.
const QUEUE_MOVES: Duration = Duration::from_secs(600);

/// The state of the operator's moving parts.
#[derive(Debug)]
pub struct Health {
    inner: Mutex<Inner>,
    leading: Leading,
}

#[derive(Debug)]
struct Inner {
    /// Watches by their names.
    watches: BTreeMap<String, Watch>,
    last_reconcile: Instant,
    broken_plugins: Vec<String>,
    /// Other parts, and why they are not ready.
    missing: BTreeMap<&'static str, String>,
}

#[derive(Debug)]
struct Watch {
    /// Plural of the kind, and its namespace.
    of: (String, Option<String>),
    /// When a list or watch of it was last sent.
    begun: Instant,
    synced: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self::new(Leading::always())
    }
}

impl Health {
    /// Nothing has begun yet. Who does not lead need not reconcile.
    #[must_use]
    pub fn new(leading: Leading) -> Self {
        let inner = Inner {
            watches: BTreeMap::new(),
            last_reconcile: Instant::now(),
            broken_plugins: Vec::new(),
            missing: BTreeMap::new(),
        };
        Self {
            inner: Mutex::new(inner),
            leading,
        }
    }

    /// Whether this process leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leading.now()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There will be a watch of this name, of the kind with this plural in this
    /// namespace (none for all).
    pub fn expect_watch(&self, name: &str, plural: &str, namespace: Option<&str>) {
        let watch = Watch {
            of: (plural.to_owned(), namespace.map(str::to_owned)),
            begun: Instant::now(),
            synced: false,
        };
        self.lock().watches.insert(name.to_owned(), watch);
    }

    /// The first list of the watch of this name is through.
    pub fn synced(&self, name: &str) {
        if let Some(watch) = self.lock().watches.get_mut(name) {
            watch.synced = true;
        }
    }

    /// The first list of the watch of this name is not waited for, although the watch goes on.
    pub fn do_without(&self, name: &str) {
        self.synced(name);
    }

    /// Whether all first lists are through, or are not waited for.
    #[must_use]
    pub fn all_synced(&self) -> bool {
        self.lock().watches.values().all(|watch| watch.synced)
    }

    /// Whether those of the watches of these names are.
    #[must_use]
    pub fn are_synced(&self, names: &[String]) -> bool {
        let watches = &self.lock().watches;
        names
            .iter()
            .all(|name| watches.get(name).is_none_or(|watch| watch.synced))
    }

    /// A list or watch of this resource in this namespace (none for all) was sent.
    pub fn watch_begins(&self, plural: &str, namespace: Option<&str>) {
        for watch in self.lock().watches.values_mut() {
            if watch.of.0 == plural && watch.of.1.as_deref() == namespace {
                watch.begun = Instant::now();
            }
        }
    }

    /// A reconcile has ended, or reconciles begin.
    pub fn reconciled(&self) {
        self.lock().last_reconcile = Instant::now();
    }

    /// These plugins could not be loaded.
    pub fn plugins_broken(&self, plugins: Vec<String>) {
        self.lock().broken_plugins = plugins;
    }

    /// Why a part is not ready, or that it is.
    pub fn set_missing(&self, part: &'static str, why: Option<String>) {
        let mut inner = self.lock();
        match why {
            Some(why) => inner.missing.insert(part, why),
            None => inner.missing.remove(part),
        };
    }

    /// What is stuck; nothing while the operator lives. `longest_wait` is that of
    /// the queue.
    #[must_use]
    pub fn stuck(&self, longest_wait: Duration) -> Vec<String> {
        let inner = self.lock();
        let silent = inner
            .watches
            .iter()
            .filter(|(_, watch)| watch.begun.elapsed() > WATCH_BEGINS);
        let mut stuck: Vec<_> = silent
            .map(|(name, watch)| {
                format!(
                    "the watch of {name} was last begun {} s ago",
                    watch.begun.elapsed().as_secs()
                )
            })
            .collect();
        if self.leads() && longest_wait > QUEUE_MOVES && inner.last_reconcile.elapsed() > QUEUE_MOVES {
            stuck.push(format!(
                "nothing has been reconciled for {} s",
                inner.last_reconcile.elapsed().as_secs()
            ));
        }
        stuck
    }

    /// What is missing until the operator is ready; nothing when it is.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let inner = self.lock();
        let begun = inner
            .watches
            .is_empty()
            .then(|| "the watches have not begun yet".to_owned());
        let lists = inner.watches.iter().filter(|(_, watch)| !watch.synced);
        let lists = lists.map(|(name, _)| format!("{name} are not listed yet"));
        let plugins = inner.broken_plugins.iter();
        let plugins = plugins.map(|plugin| format!("plugin {plugin}"));
        let parts = inner.missing.values().cloned();
        begun
            .into_iter()
            .chain(lists)
            .chain(plugins)
            .chain(parts)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ready_when_all_is_listed() {
        let health = Health::default();
        assert_eq!(health.missing(), ["the watches have not begun yet"]);
        health.expect_watch("pods", "pods", None);
        assert_eq!(health.missing(), ["pods are not listed yet"]);
        health.synced("pods");
        assert!(health.missing().is_empty() && health.all_synced());
        health.plugins_broken(vec!["cluster: no such file".into()]);
        assert_eq!(health.missing(), ["plugin cluster: no such file"]);
        health.plugins_broken(Vec::new());
        health.set_missing("webhook", Some("the webhook has no certificate yet".into()));
        assert_eq!(health.missing(), ["the webhook has no certificate yet"]);
        health.set_missing("webhook", None);
        assert!(health.missing().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_watch_is_stuck() {
        let health = Health::default();
        for namespace in ["a", "b"] {
            health.expect_watch(&format!("pods in {namespace}"), "pods", Some(namespace));
        }
        tokio::time::advance(WATCH_BEGINS).await;
        assert!(health.stuck(Duration::ZERO).is_empty());
        health.watch_begins("pods", Some("a"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            health.stuck(Duration::ZERO),
            ["the watch of pods in b was last begun 721 s ago"]
        );
        health.watch_begins("pods", None);
        assert_eq!(health.stuck(Duration::ZERO).len(), 1, "that was another one");
        health.watch_begins("pods", Some("b"));
        assert!(health.stuck(Duration::ZERO).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_does_not_move_is_stuck() {
        let health = Health::default();
        tokio::time::advance(QUEUE_MOVES + Duration::from_secs(1)).await;
        assert!(
            health.stuck(Duration::from_secs(1)).is_empty(),
            "nothing was to be done"
        );
        assert_eq!(
            health.stuck(QUEUE_MOVES * 2),
            ["nothing has been reconciled for 601 s"]
        );
        health.reconciled();
        assert!(health.stuck(QUEUE_MOVES * 2).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_of_who_does_not_lead_may_wait() {
        let leading = Leading::not_yet();
        let health = Health::new(leading.clone());
        tokio::time::advance(QUEUE_MOVES * 2).await;
        assert!(health.stuck(QUEUE_MOVES * 2).is_empty());
        leading.until(Instant::now() + Duration::from_secs(1));
        assert_eq!(health.stuck(QUEUE_MOVES * 2).len(), 1);
    }
}
