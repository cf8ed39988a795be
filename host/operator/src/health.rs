//! Health of the operator: readiness and liveness.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::leader_election::leadership::Leadership;

/// Seconds after which the API server ends a watch; the watch is then resumed where it ended. A watch that has not been
/// started for much longer is stuck.
pub(crate) const WATCH_SECONDS: u32 = 240;

/// Longest time without a start of a watch. A watch that exceeds it is stuck.
const WATCH_LIMIT: Duration = Duration::from_secs(3 * WATCH_SECONDS as u64);

/// Longest time without a reconcile while resources are due. A queue that exceeds it is stuck.
const QUEUE_LIMIT: Duration = Duration::from_secs(600);

/// State of the operator's parts.
#[derive(Debug)]
pub(crate) struct Health {
    inner: Mutex<Inner>,
    leadership: Leadership,
}

#[derive(Debug)]
struct Inner {
    /// Watches by name.
    watches: BTreeMap<String, Watch>,
    last_reconcile: Instant,
    broken_plugins: Vec<String>,
    /// Other parts that are not ready, and the reasons.
    missing: BTreeMap<&'static str, String>,
}

#[derive(Debug)]
struct Watch {
    /// Plural of the kind, and the namespace (`None` for all).
    of: (String, Option<String>),
    /// Time of the last list or watch request.
    begun: Instant,
    synced: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self::new(Leadership::always())
    }
}

impl Health {
    /// Returns the state before anything has started. A replica that is not the leader need not reconcile.
    #[must_use]
    pub(crate) fn new(leadership: Leadership) -> Self {
        let inner = Inner {
            watches: BTreeMap::new(),
            last_reconcile: Instant::now(),
            broken_plugins: Vec::new(),
            missing: BTreeMap::new(),
        };
        Self {
            inner: Mutex::new(inner),
            leadership,
        }
    }

    /// Returns whether this process is the leader.
    #[must_use]
    pub(crate) fn leads(&self) -> bool {
        self.leadership.now()
    }

    /// Registers a watch with this name, of the kind with this plural in this namespace (`None` for all).
    pub(crate) fn expect_watch(&self, name: &str, plural: &str, namespace: Option<&str>) {
        let watch = Watch {
            of: (plural.to_owned(), namespace.map(str::to_owned)),
            begun: Instant::now(),
            synced: false,
        };
        self.inner.lock().watches.insert(name.to_owned(), watch);
    }

    /// Records that the first list of the watch with this name is complete.
    pub(crate) fn synced(&self, name: &str) {
        if let Some(watch) = self.inner.lock().watches.get_mut(name) {
            watch.synced = true;
        }
    }

    /// Records that the first list of the watch with this name is not waited for, although the watch continues.
    pub(crate) fn do_without(&self, name: &str) {
        self.synced(name);
    }

    /// Returns whether all first lists are complete or not waited for.
    #[must_use]
    pub(crate) fn all_synced(&self) -> bool {
        self.inner.lock().watches.values().all(|watch| watch.synced)
    }

    /// Returns whether the first lists of the watches with these names are complete or not waited for.
    #[must_use]
    pub(crate) fn are_synced(&self, names: &[String]) -> bool {
        let watches = &self.inner.lock().watches;
        names
            .iter()
            .all(|name| watches.get(name).is_none_or(|watch| watch.synced))
    }

    /// Records a list or watch request for this resource in this namespace (`None` for all).
    pub(crate) fn watch_begins(&self, plural: &str, namespace: Option<&str>) {
        for watch in self.inner.lock().watches.values_mut() {
            if watch.of.0 == plural && watch.of.1.as_deref() == namespace {
                watch.begun = Instant::now();
            }
        }
    }

    /// Records that a reconcile has ended, or that reconciles start.
    pub(crate) fn reconciled(&self) {
        self.inner.lock().last_reconcile = Instant::now();
    }

    /// Records the plugins that could not be loaded.
    pub(crate) fn plugins_broken(&self, plugins: Vec<String>) {
        self.inner.lock().broken_plugins = plugins;
    }

    /// Records the reason why a part is not ready; `None` if it is ready.
    pub(crate) fn set_missing(&self, part: &'static str, why: Option<String>) {
        let mut inner = self.inner.lock();
        match why {
            Some(why) => inner.missing.insert(part, why),
            None => inner.missing.remove(part),
        };
    }

    /// Returns descriptions of the parts that are stuck; empty while the operator is alive. `longest_wait` is that of
    /// the queue.
    #[must_use]
    pub(crate) fn stuck(&self, longest_wait: Duration) -> Vec<String> {
        let inner = self.inner.lock();
        let silent = inner
            .watches
            .iter()
            .filter(|(_, watch)| watch.begun.elapsed() > WATCH_LIMIT);
        let mut stuck: Vec<_> = silent
            .map(|(name, watch)| {
                format!(
                    "the watch of {name} was last begun {} s ago",
                    watch.begun.elapsed().as_secs()
                )
            })
            .collect();
        if self.leads() && longest_wait > QUEUE_LIMIT && inner.last_reconcile.elapsed() > QUEUE_LIMIT {
            stuck.push(format!(
                "nothing has been reconciled for {} s",
                inner.last_reconcile.elapsed().as_secs()
            ));
        }
        stuck
    }

    /// Returns descriptions of the parts that are not ready; empty if the operator is ready.
    #[must_use]
    pub(crate) fn missing(&self) -> Vec<String> {
        let inner = self.inner.lock();
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
    async fn ready_when_all_kinds_are_listed() {
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
        tokio::time::advance(WATCH_LIMIT).await;
        assert!(health.stuck(Duration::ZERO).is_empty());
        health.watch_begins("pods", Some("a"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            health.stuck(Duration::ZERO),
            ["the watch of pods in b was last begun 721 s ago"]
        );
        health.watch_begins("pods", None);
        assert_eq!(
            health.stuck(Duration::ZERO).len(),
            1,
            "that was the watch of another scope"
        );
        health.watch_begins("pods", Some("b"));
        assert!(health.stuck(Duration::ZERO).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_without_progress_is_stuck() {
        let health = Health::default();
        tokio::time::advance(QUEUE_LIMIT + Duration::from_secs(1)).await;
        assert!(
            health.stuck(Duration::from_secs(1)).is_empty(),
            "no resource was due"
        );
        assert_eq!(
            health.stuck(QUEUE_LIMIT * 2),
            ["nothing has been reconciled for 601 s"]
        );
        health.reconciled();
        assert!(health.stuck(QUEUE_LIMIT * 2).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_of_a_standby_replica_is_never_stuck() {
        let leadership = Leadership::not_yet();
        let health = Health::new(leadership.clone());
        tokio::time::advance(QUEUE_LIMIT * 2).await;
        assert!(health.stuck(QUEUE_LIMIT * 2).is_empty());
        leadership.until(Instant::now() + Duration::from_secs(1));
        assert_eq!(health.stuck(QUEUE_LIMIT * 2).len(), 1);
    }
}
