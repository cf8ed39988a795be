//! Metrics of the operator, in Prometheus' text format.
//!
//! The names follow Prometheus' conventions and have the prefix `dask_operator_`.

pub(crate) mod plugins;
pub(crate) mod webhook;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::plugins::PluginMetrics;
use crate::metrics::webhook::WebhookMetrics;

/// Labels of reconciles.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub(crate) struct Reconcile {
    /// Kind of the parent.
    pub(crate) kind: &'static str,
    /// `success` or `error`.
    pub(crate) result: &'static str,
}

/// Label of metrics by kind.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub(crate) struct ByKind {
    /// A Kubernetes kind.
    pub(crate) kind: String,
}

/// Labels of requests to the API server.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    /// `get`, `list`, `watch`, `create`, `apply`, `patch`, `update` or `delete`.
    pub(crate) verb: &'static str,
    /// `pods`, `daskclusters/status`, …
    pub(crate) resource: String,
    /// HTTP status code, or `none` if there was no response.
    pub(crate) code: String,
}

/// Label of histograms by verb.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub(crate) struct Verb {
    /// Verb of the request, as in [`Request`].
    pub(crate) verb: &'static str,
}

/// Labels of requests to Dask schedulers.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct SchedulerRequest {
    /// `facts` or `retire`.
    operation: &'static str,
    /// `success`, or the kind of the error.
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Operation {
    operation: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Build {
    version: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// All metrics of the operator.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    reconcile_seconds: Family<ByKind, Histogram>,
    requests: Family<Request, Counter>,
    request_seconds: Family<Verb, Histogram>,
    scheduler_requests: Family<SchedulerRequest, Counter>,
    scheduler_seconds: Family<Operation, Histogram>,
    schedulers: Gauge,
    watch_errors: Family<ByKind, Counter>,
    withheld: Family<ByKind, Counter>,
    leader: Gauge,
    queue_depth: Gauge,
    queue_wait: Seconds,
    objects: Family<ByKind, Gauge>,
    object_bytes: Family<ByKind, Gauge>,
    plugins: PluginMetrics,
    webhook: WebhookMetrics,
}

fn histogram(first: f64, buckets: u16) -> Histogram {
    Histogram::new(exponential_buckets(first, 2.0, buckets))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("dask_operator");
        let metrics = Self {
            registry: Registry::default(),
            reconciles: Family::default(),
            reconcile_seconds: Family::new_with_constructor(|| histogram(0.001, 15)),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| histogram(0.001, 15)),
            scheduler_requests: Family::default(),
            scheduler_seconds: Family::new_with_constructor(|| histogram(0.001, 20)),
            schedulers: Gauge::default(),
            watch_errors: Family::default(),
            withheld: Family::default(),
            leader: Gauge::default(),
            queue_depth: Gauge::default(),
            queue_wait: Seconds::default(),
            objects: Family::default(),
            object_bytes: Family::default(),
            plugins: PluginMetrics::register(&mut registry),
            webhook: WebhookMetrics::register(&mut registry),
        };
        let build: Family<Build, Gauge> = Family::default();
        build
            .get_or_create(&Build {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        registry.register("build_info", "Version of the running operator", build);
        registry.register(
            "reconciles",
            "Reconciles by kind and result",
            metrics.reconciles.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of reconciles, including their requests",
            Unit::Seconds,
            metrics.reconcile_seconds.clone(),
        );
        registry.register(
            "api_requests",
            "Requests to the API server",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "api_request_duration",
            "Time until the response of the API server began",
            Unit::Seconds,
            metrics.request_seconds.clone(),
        );
        registry.register(
            "scheduler_requests",
            "Requests to Dask schedulers",
            metrics.scheduler_requests.clone(),
        );
        registry.register_with_unit(
            "scheduler_request_duration",
            "Time until the response of a Dask scheduler was complete, including the connection",
            Unit::Seconds,
            metrics.scheduler_seconds.clone(),
        );
        registry.register(
            "schedulers",
            "Dask schedulers that are polled",
            metrics.schedulers.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that failed and were restarted",
            metrics.watch_errors.clone(),
        );
        registry.register(
            "withheld_writes",
            "Writes that were withheld because there were too many to one object, or to the children of one object",
            metrics.withheld.clone(),
        );
        registry.register(
            "leader",
            "1 while this process is the leader, 0 while it stands by",
            metrics.leader.clone(),
        );
        registry.register(
            "queue_depth",
            "Objects in the work queue that are due",
            metrics.queue_depth.clone(),
        );
        registry.register_with_unit(
            "queue_longest_wait",
            "Time since the first of these objects was due",
            Unit::Seconds,
            metrics.queue_wait.clone(),
        );
        registry.register(
            "objects",
            "Objects in the informer cache",
            metrics.objects.clone(),
        );
        registry.register_with_unit(
            "objects_size",
            "Size of the JSON of the objects in the informer cache",
            Unit::Bytes,
            metrics.object_bytes.clone(),
        );
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Returns the metrics of plugins.
    #[must_use]
    pub(crate) fn plugins(&self) -> &PluginMetrics {
        &self.plugins
    }

    /// Returns the metrics of the webhook.
    #[must_use]
    pub(crate) fn webhook(&self) -> WebhookMetrics {
        self.webhook.clone()
    }

    /// Counts a reconcile of an object of `kind` that has ended.
    pub(crate) fn reconciled(&self, kind: &'static str, success: bool, duration: Duration) {
        let result = if success { "success" } else { "error" };
        self.reconciles.get_or_create(&Reconcile { kind, result }).inc();
        self.reconcile_seconds
            .get_or_create(&ByKind { kind: kind.into() })
            .observe(duration.as_secs_f64());
    }

    /// Counts a request to the API server that was answered, or failed, after `duration`.
    pub(crate) fn requested(&self, request: &Request, duration: Duration) {
        self.requests.get_or_create(request).inc();
        let verb = Verb { verb: request.verb };
        self.request_seconds
            .get_or_create(&verb)
            .observe(duration.as_secs_f64());
    }

    /// Counts a request to a Dask scheduler that was answered, or failed, after `duration`. `operation` is `facts` or
    /// `retire`; `outcome` is `success` or the kind of the error.
    pub(crate) fn asked(&self, operation: &'static str, outcome: &'static str, duration: Duration) {
        self.scheduler_requests
            .get_or_create(&SchedulerRequest { operation, outcome })
            .inc();
        self.scheduler_seconds
            .get_or_create(&Operation { operation })
            .observe(duration.as_secs_f64());
    }

    /// Sets the number of Dask schedulers that are polled.
    pub(crate) fn schedulers(&self, count: usize) {
        self.schedulers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a watch of `kind` that failed.
    pub(crate) fn watch_failed(&self, kind: &str) {
        self.watch_errors
            .get_or_create(&ByKind { kind: kind.into() })
            .inc();
    }

    /// Counts a write to an object of `kind` that was withheld.
    pub(crate) fn withheld(&self, kind: &str) {
        self.withheld.get_or_create(&ByKind { kind: kind.into() }).inc();
    }

    /// Sets whether this process is the leader.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Sets the number of objects in the work queue that are due, and the time since the first of them was due.
    pub(crate) fn queue(&self, depth: usize, longest: Duration) {
        self.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.queue_wait.set(longest.as_secs_f64());
    }

    /// Sets the number of objects of `kind` in the informer cache, and the bytes of their JSON.
    pub(crate) fn stored(&self, kind: &str, objects: usize, bytes: usize) {
        let kind = ByKind { kind: kind.into() };
        self.objects
            .get_or_create(&kind)
            .set(i64::try_from(objects).unwrap_or(i64::MAX));
        self.object_bytes
            .get_or_create(&kind)
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Returns all metrics in the text format.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::plugins::PluginCall;

    #[test]
    fn metric_names_follow_the_conventions() {
        let metrics = Metrics::default();
        metrics.reconciled("DaskCluster", true, Duration::from_millis(3));
        let call = PluginCall {
            component: "cluster".into(),
            interface: "cluster",
            function: "plan",
            outcome: "success",
        };
        metrics
            .plugins()
            .called(&call, Duration::from_micros(80), 1 << 20);
        let request = Request {
            verb: "create",
            resource: "pods".into(),
            code: "201".into(),
        };
        metrics.requested(&request, Duration::from_millis(2));
        metrics.asked("facts", "success", Duration::from_millis(2));
        metrics.schedulers(4);
        metrics.leads(true);
        metrics.queue(3, Duration::from_secs(1));
        metrics.stored("Pod", 2, 100);
        let text = metrics.text();
        for line in [
            r#"dask_operator_reconciles_total{kind="DaskCluster",result="success"} 1"#,
            r#"dask_operator_reconcile_duration_seconds_count{kind="DaskCluster"} 1"#,
            r#"dask_operator_plugin_call_duration_seconds_count{component="cluster",interface="cluster",function="plan",outcome="success"} 1"#,
            r#"dask_operator_api_requests_total{verb="create",resource="pods",code="201"} 1"#,
            r#"dask_operator_scheduler_requests_total{operation="facts",outcome="success"} 1"#,
            "dask_operator_schedulers 4",
            "dask_operator_leader 1",
            "dask_operator_queue_depth 3",
            "dask_operator_queue_longest_wait_seconds 1.0",
            r#"dask_operator_objects{kind="Pod"} 2"#,
            concat!(
                "dask_operator_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
