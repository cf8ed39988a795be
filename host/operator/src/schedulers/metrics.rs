//! Metrics of requests to Dask schedulers.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use crate::metrics::{Label, Labelled, Registry, gauge_value, histogram, outcomes};
use crate::schedulers::client::FailureKind;

/// Operations of requests.
const OPERATIONS: &[&str] = &["facts", "retire"];

/// Labels of requests to Dask schedulers.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct SchedulerRequest {
    /// One of [`OPERATIONS`].
    operation: &'static str,
    /// `success`, or the kind of the error.
    outcome: &'static str,
}

impl Labelled for SchedulerRequest {
    fn labels() -> Vec<Label> {
        vec![
            ("operation", OPERATIONS.to_vec()),
            outcomes(FailureKind::all().into_iter().map(FailureKind::as_str)),
        ]
    }
}

/// Label of histograms by operation.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Operation {
    operation: &'static str,
}

impl Labelled for Operation {
    fn labels() -> Vec<Label> {
        vec![("operation", OPERATIONS.to_vec())]
    }
}

/// Metrics of requests to Dask schedulers. Clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct SchedulerMetrics {
    requests: Family<SchedulerRequest, Counter>,
    seconds: Family<Operation, Histogram>,
    polled: Gauge,
}

impl SchedulerMetrics {
    /// Creates the metrics and registers them with `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            requests: registry.register(
                "scheduler_requests",
                "Requests to Dask schedulers",
                Family::default(),
            ),
            seconds: registry.register_with_unit(
                "scheduler_request_duration",
                "Time until the response of a Dask scheduler was complete, including the connection",
                Unit::Seconds,
                Family::new_with_constructor(|| histogram(0.001, 20)),
            ),
            polled: registry.register("schedulers", "Dask schedulers that are polled", Gauge::default()),
        }
    }

    /// Counts a request that was answered, or failed, after `duration`. `operation` is `facts` or `retire`; `outcome` is
    /// `success` or the kind of the error.
    pub(crate) fn requested(&self, operation: &'static str, outcome: &'static str, duration: Duration) {
        self.requests
            .get_or_create(&SchedulerRequest { operation, outcome })
            .inc();
        self.seconds
            .get_or_create(&Operation { operation })
            .observe(duration.as_secs_f64());
    }

    /// Sets the number of Dask schedulers that are polled.
    pub(crate) fn polled(&self, count: usize) {
        self.polled.set(gauge_value(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_are_in_the_text() {
        let mut registry = Registry::default();
        let metrics = SchedulerMetrics::register(&mut registry);
        metrics.requested("facts", "success", Duration::from_millis(2));
        metrics.polled(4);
        registry.assert_has(&[
            r#"dask_operator_scheduler_requests_total{operation="facts",outcome="success"} 1"#,
            r#"dask_operator_scheduler_request_duration_seconds_count{operation="facts"} 1"#,
            "dask_operator_schedulers 4",
        ]);
    }
}
