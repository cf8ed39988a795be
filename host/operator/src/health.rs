//! Whether the operator does its work.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

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
}

#[derive(Debug)]
struct Inner {
    /// Watches by kind and namespace: whether the first list is through.
    synced: BTreeMap<String, bool>,
    /// Plural of a kind, and when a list or watch of it was last sent.
    begun: BTreeMap<String, Instant>,
    last_reconcile: Instant,
    broken_plugins: Vec<String>,
}

impl Default for Health {
    fn default() -> Self {
        let inner = Inner {
            synced: BTreeMap::new(),
            begun: BTreeMap::new(),
            last_reconcile: Instant::now(),
            broken_plugins: Vec::new(),
        };
        Self {
            inner: Mutex::new(inner),
        }
    }
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There will be a watch of this name, of the kind with this plural.
    pub fn expect_watch(&self, name: &str, plural: &str) {
        let mut inner = self.lock();
        inner.synced.insert(name.to_owned(), false);
        inner.begun.insert(plural.to_owned(), Instant::now());
    }

    /// The first list of the watch of this name is through.
    pub fn synced(&self, name: &str) {
        self.lock().synced.insert(name.to_owned(), true);
    }

    /// Whether all first lists are through.
    #[must_use]
    pub fn all_synced(&self) -> bool {
        self.lock().synced.values().all(|synced| *synced)
    }

    /// A list or watch of this resource was sent.
    pub fn watch_begins(&self, plural: &str) {
        if let Some(begun) = self.lock().begun.get_mut(plural) {
            *begun = Instant::now();
        }
    }

    /// A reconcile has ended.
    pub fn reconciled(&self) {
        self.lock().last_reconcile = Instant::now();
    }

    /// These plugins could not be loaded.
    pub fn plugins_broken(&self, plugins: Vec<String>) {
        self.lock().broken_plugins = plugins;
    }

    /// What is stuck; nothing while the operator lives. `longest_wait` is that of
    /// the queue.
    #[must_use]
    pub fn stuck(&self, longest_wait: Duration) -> Vec<String> {
        let inner = self.lock();
        let silent = inner
            .begun
            .iter()
            .filter(|(_, begun)| begun.elapsed() > WATCH_BEGINS);
        let mut stuck: Vec<_> = silent
            .map(|(plural, begun)| {
                format!(
                    "the watch of {plural} was last begun {} s ago",
                    begun.elapsed().as_secs()
                )
            })
            .collect();
        if longest_wait > QUEUE_MOVES && inner.last_reconcile.elapsed() > QUEUE_MOVES {
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
        let lists = inner.synced.iter().filter(|(_, synced)| !**synced);
        let lists = lists.map(|(name, _)| format!("{name} are not listed yet"));
        lists
            .chain(
                inner
                    .broken_plugins
                    .iter()
                    .map(|plugin| format!("plugin {plugin}")),
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ready_when_all_is_listed() {
        let health = Health::default();
        health.expect_watch("pods", "pods");
        assert_eq!(health.missing(), ["pods are not listed yet"]);
        health.synced("pods");
        assert!(health.missing().is_empty() && health.all_synced());
        health.plugins_broken(vec!["cluster: no such file".into()]);
        assert_eq!(health.missing(), ["plugin cluster: no such file"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_watch_is_stuck() {
        let health = Health::default();
        health.expect_watch("pods", "pods");
        tokio::time::advance(WATCH_BEGINS).await;
        assert!(health.stuck(Duration::ZERO).is_empty());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            health.stuck(Duration::ZERO),
            ["the watch of pods was last begun 721 s ago"]
        );
        health.watch_begins("pods");
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
}
