//! Registry of the metrics, and their text in Prometheus' format.
//!
//! Each part of the operator registers the metrics that it counts: see its own `metrics` module. The names follow
//! Prometheus' conventions and have the prefix `dask_operator_`.

mod page;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{self, Metric, Unit};

use page::Description;

/// Start of all names, without the underscore.
const PREFIX: &str = "dask_operator";

/// Value of the label `outcome` if there was no failure.
pub(crate) const SUCCESS: &str = "success";

/// Name of a label, and its values if these are a closed set.
pub(crate) type Label = (&'static str, Vec<&'static str>);

/// Set of labels, or a metric with these labels, as described in `docs/metrics.md`.
pub(crate) trait Labelled {
    /// Returns the labels in their order in the text.
    fn labels() -> Vec<Label>;
}

/// Returns a label whose values are no closed set.
pub(crate) fn open(name: &'static str) -> Label {
    (name, Vec::new())
}

/// Returns the label of outcomes: `success`, or one of these words of failures.
pub(crate) fn outcomes(failures: impl IntoIterator<Item = &'static str>) -> Label {
    ("outcome", [SUCCESS].into_iter().chain(failures).collect())
}

impl Labelled for Counter {
    fn labels() -> Vec<Label> {
        Vec::new()
    }
}

impl<N, A> Labelled for Gauge<N, A> {
    fn labels() -> Vec<Label> {
        Vec::new()
    }
}

impl<L: Labelled, M, C> Labelled for Family<L, M, C> {
    fn labels() -> Vec<Label> {
        L::labels()
    }
}

/// Label of metrics by kind.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub(crate) struct ByKind {
    /// A Kubernetes kind.
    pub(crate) kind: String,
}

impl Labelled for ByKind {
    fn labels() -> Vec<Label> {
        vec![open("kind")]
    }
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Build {
    version: &'static str,
}

impl Labelled for Build {
    fn labels() -> Vec<Label> {
        vec![open("version")]
    }
}

/// Metrics of the process.
#[derive(Debug)]
pub(crate) struct Registry {
    inner: registry::Registry,
    /// Descriptions of the metrics.
    described: Vec<Description>,
}

impl Default for Registry {
    fn default() -> Self {
        let mut registry = Self {
            inner: registry::Registry::with_prefix(PREFIX),
            described: Vec::new(),
        };
        let build: Family<Build, Gauge> = Family::default();
        let build = registry.register("build_info", "Version of the running operator", build);
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&Build { version }).set(1);
        registry
    }
}

impl Registry {
    /// Adds a metric and returns it. The text has `name` with the prefix, and `_total` after it if the metric is a counter.
    pub(crate) fn register<M: Metric + Clone + Labelled>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.described.push(Description::new(name, help, None, &metric));
        self.inner.register(name, help, metric.clone());
        metric
    }

    /// Adds a metric whose name ends with the `unit` of its values, and returns it.
    pub(crate) fn register_with_unit<M: Metric + Clone + Labelled>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        metric: M,
    ) -> M {
        self.described
            .push(Description::new(name, help, Some(&unit), &metric));
        self.inner.register_with_unit(name, help, unit, metric.clone());
        metric
    }

    /// Returns all metrics in the text format.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.inner);
        out
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
mod tests;
