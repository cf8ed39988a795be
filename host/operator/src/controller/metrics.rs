//! Metrics of the work queue, and all metrics that the controller updates.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use crate::cache::metrics::CacheMetrics;
use crate::leader_election::metrics::LeaderElectionMetrics;
use crate::metrics::{Registry, gauge_value};

/// Metrics that the controller updates. Clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct ControllerMetrics {
    /// Metrics of its work queue.
    pub(crate) queue: QueueMetrics,
    /// Metrics of the informer cache, which its watches fill.
    pub(crate) cache: CacheMetrics,
    /// Metrics of the leadership, which it works under.
    pub(crate) leader_election: LeaderElectionMetrics,
}

impl ControllerMetrics {
    /// Creates the metrics and registers them with `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            queue: QueueMetrics::register(registry),
            cache: CacheMetrics::register(registry),
            leader_election: LeaderElectionMetrics::register(registry),
        }
    }
}

/// Metrics of the work queue. Clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct QueueMetrics {
    depth: Gauge,
    longest_wait: Gauge<f64, AtomicU64>,
}

impl QueueMetrics {
    /// Creates the metrics and registers them with `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            depth: registry.register(
                "queue_depth",
                "Objects in the work queue that are due",
                Gauge::default(),
            ),
            longest_wait: registry.register_with_unit(
                "queue_longest_wait",
                "Time since the first of these objects was due",
                Unit::Seconds,
                Gauge::default(),
            ),
        }
    }

    /// Sets the number of objects in the work queue that are due, and the time since the first of them was due.
    pub(crate) fn backlog(&self, depth: usize, longest: Duration) {
        self.depth.set(gauge_value(depth));
        self.longest_wait.set(longest.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_are_in_the_text() {
        let mut registry = Registry::default();
        let metrics = QueueMetrics::register(&mut registry);
        metrics.backlog(3, Duration::from_secs(1));
        registry.assert_has(&[
            "dask_operator_queue_depth 3",
            "dask_operator_queue_longest_wait_seconds 1.0",
        ]);
    }
}
