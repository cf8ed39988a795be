//! Registry of the metrics, and their text in Prometheus' format.
//!
//! Each part of the operator registers the metrics that it counts: see its own `metrics` module. The names follow
//! Prometheus' conventions and have the prefix `dask_operator_`.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{self, Metric, Unit};

/// Label of metrics by kind.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub(crate) struct ByKind {
    /// A Kubernetes kind.
    pub(crate) kind: String,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Build {
    version: &'static str,
}

/// Metrics of the process.
#[derive(Debug)]
pub(crate) struct Registry(registry::Registry);

impl Default for Registry {
    fn default() -> Self {
        let mut registry = Self(registry::Registry::with_prefix("dask_operator"));
        let build: Family<Build, Gauge> = Family::default();
        let build = registry.register("build_info", "Version of the running operator", build);
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&Build { version }).set(1);
        registry
    }
}

impl Registry {
    /// Adds a metric and returns it. The text has `name` with the prefix, and `_total` after it if the metric is a counter.
    pub(crate) fn register<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    /// Adds a metric whose name ends with the `unit` of its values, and returns it.
    pub(crate) fn register_with_unit<M: Metric + Clone>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        metric: M,
    ) -> M {
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }

    /// Returns all metrics in the text format.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.0);
        out
    }

    /// Checks that the text has these lines.
    #[cfg(test)]
    pub(crate) fn assert_has(&self, lines: &[&str]) {
        let text = self.text();
        for line in lines {
            assert!(
                text.lines().any(|found| found == *line),
                "{line} is not in\n{text}"
            );
        }
    }
}

/// Returns a histogram of seconds. `first` is the limit of its first bucket, and each further limit is twice the one before.
pub(crate) fn histogram(first: f64, buckets: u16) -> Histogram {
    Histogram::new(exponential_buckets(first, 2.0, buckets))
}

/// Returns the value of a gauge for a number of things.
pub(crate) fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_version() {
        Registry::default().assert_has(&[concat!(
            "dask_operator_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        )]);
    }
}
