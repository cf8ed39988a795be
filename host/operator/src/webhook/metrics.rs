//! Metrics of the webhook.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use crate::metrics::{Label, Labelled, Registry, histogram, open};
use crate::webhook::input::{OperationName, Step, Target};
use crate::webhook::result::AdmissionResult;

/// Returns the label of admission steps.
fn steps() -> Label {
    ("step", Step::all().into_iter().map(Step::as_str).collect())
}

/// Labels of admission requests.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub(crate) struct Admission {
    /// Word of a [`Step`].
    pub(crate) step: &'static str,
    /// Kind of the resource. Empty if the request could not be read.
    pub(crate) kind: &'static str,
    /// Word of an [`OperationName`]. Empty if the request could not be read.
    pub(crate) operation: &'static str,
    /// Word of an [`AdmissionResult`].
    pub(crate) outcome: &'static str,
}

impl Labelled for Admission {
    fn labels() -> Vec<Label> {
        let operations = OperationName::all().into_iter().map(OperationName::as_str);
        let results = AdmissionResult::all().into_iter().map(AdmissionResult::as_str);
        vec![
            steps(),
            ("kind", Target::kinds()),
            ("operation", operations.collect()),
            ("outcome", results.collect()),
        ]
    }
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct ByStep {
    step: &'static str,
}

impl Labelled for ByStep {
    fn labels() -> Vec<Label> {
        vec![steps()]
    }
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Policy {
    policy: String,
}

impl Labelled for Policy {
    fn labels() -> Vec<Label> {
        vec![open("policy")]
    }
}

/// Metrics of the webhook. Clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct WebhookMetrics {
    requests: Family<Admission, Counter>,
    seconds: Family<ByStep, Histogram>,
    monitored: Family<Policy, Counter>,
}

impl WebhookMetrics {
    /// Creates the metrics and registers them with `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            requests: registry.register("webhook_requests", "Admission requests", Family::default()),
            seconds: registry.register_with_unit(
                "webhook_request_duration",
                "Time from when an admission request was read until its response",
                Unit::Seconds,
                Family::new_with_constructor(|| histogram(0.000_25, 16)),
            ),
            monitored: registry.register(
                "webhook_monitored",
                "Refusals and changes by policies that only monitor",
                Family::default(),
            ),
        }
    }

    /// Counts a request that was answered after `duration`.
    pub(crate) fn answered(&self, request: &Admission, duration: Duration) {
        self.requests.get_or_create(request).inc();
        self.seconds
            .get_or_create(&ByStep { step: request.step })
            .observe(duration.as_secs_f64());
    }

    /// Counts a refusal or change by a policy that only monitors. `policy` is its name in metrics.
    pub(crate) fn monitored(&self, policy: &str) {
        self.monitored
            .get_or_create(&Policy {
                policy: policy.to_owned(),
            })
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_are_in_the_text() {
        let mut registry = Registry::default();
        let metrics = WebhookMetrics::register(&mut registry);
        let request = Admission {
            step: "mutate",
            kind: "DaskJob",
            operation: "create",
            outcome: "allowed",
        };
        metrics.answered(&request, Duration::from_millis(2));
        metrics.monitored("DaskPlugin");
        registry.assert_has(&[
            r#"dask_operator_webhook_requests_total{step="mutate",kind="DaskJob",operation="create",outcome="allowed"} 1"#,
            r#"dask_operator_webhook_request_duration_seconds_count{step="mutate"} 1"#,
            r#"dask_operator_webhook_monitored_total{policy="DaskPlugin"} 1"#,
        ]);
    }
}
