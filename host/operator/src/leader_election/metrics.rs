//! Metrics of the leadership.

use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Registry;

/// Metrics of the leadership. Clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct LeaderElectionMetrics {
    leader: Gauge,
}

impl LeaderElectionMetrics {
    /// Creates the metrics and registers them with `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            leader: registry.register(
                "leader",
                "1 while this process is the leader, 0 while it stands by",
                Gauge::default(),
            ),
        }
    }

    /// Sets whether this process is the leader.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_are_in_the_text() {
        let mut registry = Registry::default();
        let metrics = LeaderElectionMetrics::register(&mut registry);
        metrics.leads(true);
        registry.assert_has(&["dask_operator_leader 1"]);
    }
}
