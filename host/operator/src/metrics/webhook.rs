//! Metrics of the webhook.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Labels of admission requests.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub(crate) struct Admission {
    /// `mutate` or `validate`.
    pub(crate) step: &'static str,
    /// Kind of the resource. Empty if the request could not be read.
    pub(crate) kind: &'static str,
    /// `create`, `update`, `delete` or `scale`. Empty if the request could not be read.
    pub(crate) operation: &'static str,
    /// `allowed`, `refused`, `unasked` (admitted without a decision), `failed` (no decision was possible), `late`, `busy` (too
    /// many requests at once), `overdrawn` (plugins of the namespace have used up their time) or `unreadable`.
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Step {
    step: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Policy {
    policy: String,
}

/// Metrics of the webhook. Clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct WebhookMetrics {
    requests: Family<Admission, Counter>,
    seconds: Family<Step, Histogram>,
    monitored: Family<Policy, Counter>,
}

impl WebhookMetrics {
    /// Creates the metrics and registers them with `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 16))),
            monitored: Family::default(),
        };
        registry.register("webhook_requests", "Admission requests", metrics.requests.clone());
        registry.register_with_unit(
            "webhook_request_duration",
            "Time from when an admission request was read until its response",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "webhook_monitored",
            "Refusals and changes by policies that only monitor",
            metrics.monitored.clone(),
        );
        metrics
    }

    /// Counts a request that was answered after `duration`.
    pub(crate) fn answered(&self, request: &Admission, duration: Duration) {
        self.requests.get_or_create(request).inc();
        self.seconds
            .get_or_create(&Step { step: request.step })
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
