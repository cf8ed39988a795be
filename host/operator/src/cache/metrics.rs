//! Metrics of the informer cache.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use crate::metrics::{ByKind, Registry, gauge_value};

/// Metrics of the informer cache. Clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct CacheMetrics {
    watch_errors: Family<ByKind, Counter>,
    objects: Family<ByKind, Gauge>,
    bytes: Family<ByKind, Gauge>,
}

impl CacheMetrics {
    /// Creates the metrics and registers them with `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            watch_errors: registry.register(
                "watch_errors",
                "Watches that failed and were restarted",
                Family::default(),
            ),
            objects: registry.register("objects", "Objects in the informer cache", Family::default()),
            bytes: registry.register_with_unit(
                "objects_size",
                "Size of the JSON of the objects in the informer cache",
                Unit::Bytes,
                Family::default(),
            ),
        }
    }

    /// Counts a watch of `kind` that failed.
    pub(crate) fn watch_failed(&self, kind: &str) {
        self.watch_errors
            .get_or_create(&ByKind { kind: kind.into() })
            .inc();
    }

    /// Sets the number of objects of `kind` in the informer cache, and the bytes of their JSON.
    pub(crate) fn stored(&self, kind: &str, objects: usize, bytes: usize) {
        let kind = ByKind { kind: kind.into() };
        self.objects.get_or_create(&kind).set(gauge_value(objects));
        self.bytes.get_or_create(&kind).set(gauge_value(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_are_in_the_text() {
        let mut registry = Registry::default();
        let metrics = CacheMetrics::register(&mut registry);
        metrics.watch_failed("Pod");
        metrics.stored("Pod", 2, 100);
        registry.assert_has(&[
            r#"dask_operator_watch_errors_total{kind="Pod"} 1"#,
            r#"dask_operator_objects{kind="Pod"} 2"#,
            r#"dask_operator_objects_size_bytes{kind="Pod"} 100"#,
        ]);
    }
}
