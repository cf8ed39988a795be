//! Metrics of requests to the API server.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use crate::metrics::{Label, Labelled, Registry, histogram, open};

/// Verbs as in the metrics of Kubernetes.
const VERBS: &[&str] = &[
    "get", "list", "watch", "create", "apply", "patch", "update", "delete", "other",
];

/// Labels of requests to the API server.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    /// One of [`VERBS`].
    pub(crate) verb: &'static str,
    /// `pods`, `daskclusters/status`, …
    pub(crate) resource: String,
    /// HTTP status code, or `none` if there was no response.
    pub(crate) code: String,
}

impl Labelled for Request {
    fn labels() -> Vec<Label> {
        vec![("verb", VERBS.to_vec()), open("resource"), open("code")]
    }
}

/// Label of histograms by verb.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Verb {
    verb: &'static str,
}

impl Labelled for Verb {
    fn labels() -> Vec<Label> {
        vec![("verb", VERBS.to_vec())]
    }
}

/// Metrics of requests to the API server. Clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct ApiMetrics {
    requests: Family<Request, Counter>,
    seconds: Family<Verb, Histogram>,
}

impl ApiMetrics {
    /// Creates the metrics and registers them with `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            requests: registry.register("api_requests", "Requests to the API server", Family::default()),
            seconds: registry.register_with_unit(
                "api_request_duration",
                "Time until the response of the API server began",
                Unit::Seconds,
                Family::new_with_constructor(|| histogram(0.001, 15)),
            ),
        }
    }

    /// Counts a request that was answered, or failed, after `duration`.
    pub(crate) fn requested(&self, request: &Request, duration: Duration) {
        self.requests.get_or_create(request).inc();
        let verb = Verb { verb: request.verb };
        self.seconds.get_or_create(&verb).observe(duration.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_are_in_the_text() {
        let mut registry = Registry::default();
        let metrics = ApiMetrics::register(&mut registry);
        let request = Request {
            verb: "create",
            resource: "pods".into(),
            code: "201".into(),
        };
        metrics.requested(&request, Duration::from_millis(2));
        registry.assert_has(&[
            r#"dask_operator_api_requests_total{verb="create",resource="pods",code="201"} 1"#,
            r#"dask_operator_api_request_duration_seconds_count{verb="create"} 1"#,
        ]);
    }
}
