//! What the webhook counts and measures.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Labels of a request.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub struct Admission {
    /// `mutate` or `validate`.
    pub step: &'static str,
    /// The kind; empty where the request could not be read.
    pub kind: &'static str,
    /// `create`, `update`, `delete` or `scale`; empty where the request could not be read.
    pub operation: &'static str,
    /// `allowed`, `refused`, `unasked` (nobody had to be asked), `failed` (nobody could decide), `late`, `busy` (too many at once),
    /// `overdrawn` (plugins of the namespace have used their time) or `unreadable`.
    pub outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Step {
    step: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Policy {
    policy: String,
}

/// What the webhook counts and measures. A clone is the same.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    requests: Family<Admission, Counter>,
    seconds: Family<Step, Histogram>,
    monitored: Family<Policy, Counter>,
}

impl WebhookMetrics {
    /// All at zero, known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 16))),
            monitored: Family::default(),
        };
        registry.register(
            "webhook_requests",
            "Requests of API servers before objects are stored",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "webhook_request_duration",
            "Time from when such a request was read to its answer",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "webhook_monitored",
            "What policies that only monitor would have refused or changed",
            metrics.monitored.clone(),
        );
        metrics
    }

    /// A request has been answered after that time.
    pub fn answered(&self, request: &Admission, duration: Duration) {
        self.requests.get_or_create(request).inc();
        self.seconds
            .get_or_create(&Step { step: request.step })
            .observe(duration.as_secs_f64());
    }

    /// A policy that only monitors, by its name in metrics, would have refused or changed something.
    pub fn monitored(&self, policy: &str) {
        self.monitored
            .get_or_create(&Policy {
                policy: policy.to_owned(),
            })
            .inc();
    }
}
