//! What the operator counts and measures, in Prometheus' text format.
//!
//! Names after Prometheus' conventions, all with the prefix `dask_operator_`.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::webhook::metrics::WebhookMetrics;

/// Labels of a reconcile.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub struct Reconcile {
    /// The parent's kind.
    pub kind: &'static str,
    /// `success` or `error`.
    pub result: &'static str,
}

/// Label of what is counted by kind.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub struct ByKind {
    /// A Kubernetes kind.
    pub kind: String,
}

/// Labels of a call of a component.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub struct PluginCall {
    /// The plugin resource that it is loaded for, or else the component's own name.
    pub component: String,
    /// The interface, `worker-group`.
    pub interface: &'static str,
    /// The function, `plan`.
    pub function: &'static str,
    /// `success`, or what went wrong.
    pub outcome: &'static str,
}

/// Labels of a request to the API server.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `apply`, `patch`, `update` or `delete`.
    pub verb: &'static str,
    /// `pods`, `daskclusters/status`, …
    pub resource: String,
    /// The HTTP status code, or `none` where there was no answer.
    pub code: String,
}

/// Label of a histogram by verb.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub struct Verb {
    /// As in [`Request`].
    pub verb: &'static str,
}

/// Labels of a request to a Dask scheduler.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct SchedulerRequest {
    /// `facts` or `retire`.
    operation: &'static str,
    /// `success`, or what went wrong.
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Operation {
    operation: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Load {
    /// `success`, or what went wrong.
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Component {
    component: String,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Build {
    version: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// How many components are counted each by itself.
const MOST_COMPONENTS: usize = 256;

/// As what all others are counted.
const OTHERS: &str = "others";

/// All that is counted and measured.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    reconcile_seconds: Family<ByKind, Histogram>,
    plugin_calls: Family<PluginCall, Counter>,
    plugin_seconds: Family<PluginCall, Histogram>,
    plugin_memory: Family<Component, Gauge>,
    /// The calls that are counted, by the component.
    components: Mutex<HashMap<String, HashSet<PluginCall>>>,
    plugin_loads: Family<Load, Counter>,
    plugin_rollbacks: Counter,
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
            plugin_calls: Family::default(),
            plugin_seconds: Family::new_with_constructor(|| histogram(0.000_05, 16)),
            plugin_memory: Family::default(),
            components: Mutex::default(),
            plugin_loads: Family::default(),
            plugin_rollbacks: Counter::default(),
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
            webhook: WebhookMetrics::register(&mut registry),
        };
        let build: Family<Build, Gauge> = Family::default();
        build
            .get_or_create(&Build {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        registry.register("build_info", "The version that runs", build);
        registry.register(
            "reconciles",
            "Reconciles by kind and result",
            metrics.reconciles.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Time of a reconcile, its requests included",
            Unit::Seconds,
            metrics.reconcile_seconds.clone(),
        );
        registry.register(
            "plugin_calls",
            "Calls of components",
            metrics.plugin_calls.clone(),
        );
        registry.register_with_unit(
            "plugin_call_duration",
            "Time of a call of a component",
            Unit::Seconds,
            metrics.plugin_seconds.clone(),
        );
        registry.register_with_unit(
            "plugin_memory",
            "Linear memory of a component after its last call",
            Unit::Bytes,
            metrics.plugin_memory.clone(),
        );
        registry.register(
            "plugin_loads",
            "Attempts to load what a plugin resource asks for",
            metrics.plugin_loads.clone(),
        );
        registry.register(
            "plugin_rollbacks",
            "Plugins that failed in operation and were taken back for the version before",
            metrics.plugin_rollbacks.clone(),
        );
        registry.register(
            "api_requests",
            "Requests to the API server",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "api_request_duration",
            "Time until the API server's answer began",
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
            "Time until a Dask scheduler had answered, connecting included",
            Unit::Seconds,
            metrics.scheduler_seconds.clone(),
        );
        registry.register(
            "schedulers",
            "Dask schedulers that are asked from time to time",
            metrics.schedulers.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that broke and were begun again",
            metrics.watch_errors.clone(),
        );
        registry.register(
            "withheld_writes",
            "Writes that were withheld because there were too many of one object, or of the children of one",
            metrics.withheld.clone(),
        );
        registry.register(
            "leader",
            "1 while this process reconciles, 0 while it stands by",
            metrics.leader.clone(),
        );
        registry.register(
            "queue_depth",
            "Objects that wait to be reconciled",
            metrics.queue_depth.clone(),
        );
        registry.register_with_unit(
            "queue_longest_wait",
            "How long the first of them has waited",
            Unit::Seconds,
            metrics.queue_wait.clone(),
        );
        registry.register("objects", "Objects in the stores", metrics.objects.clone());
        registry.register_with_unit(
            "objects_size",
            "JSON of the objects in the stores",
            Unit::Bytes,
            metrics.object_bytes.clone(),
        );
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// What the webhook counts and measures.
    #[must_use]
    pub fn webhook(&self) -> WebhookMetrics {
        self.webhook.clone()
    }

    /// A reconcile of an object of `kind` has ended.
    pub fn reconciled(&self, kind: &'static str, success: bool, duration: Duration) {
        let result = if success { "success" } else { "error" };
        self.reconciles.get_or_create(&Reconcile { kind, result }).inc();
        self.reconcile_seconds
            .get_or_create(&ByKind { kind: kind.into() })
            .observe(duration.as_secs_f64());
    }

    fn components(&self) -> MutexGuard<'_, HashMap<String, HashSet<PluginCall>>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As what a call is counted: one that is made for the first time, of a component beyond the [`MOST_COMPONENTS`]th, as
    /// one of `others`. What users of a namespace load must not make ever more series.
    fn counted(&self, call: &PluginCall) -> PluginCall {
        let mut components = self.components();
        let is_one_more = !components.contains_key(&call.component);
        let mut call = call.clone();
        if is_one_more && components.len() >= MOST_COMPONENTS {
            OTHERS.clone_into(&mut call.component);
        }
        let calls = components.entry(call.component.clone()).or_default();
        if !calls.contains(&call) {
            calls.insert(call.clone());
        }
        call
    }

    /// A call of a component has ended, with that much linear memory in bytes.
    pub fn called(&self, call: &PluginCall, duration: Duration, memory: usize) {
        let call = &self.counted(call);
        self.plugin_calls.get_or_create(call).inc();
        self.plugin_seconds
            .get_or_create(call)
            .observe(duration.as_secs_f64());
        let component = Component {
            component: call.component.clone(),
        };
        self.plugin_memory
            .get_or_create(&component)
            .set(i64::try_from(memory).unwrap_or(i64::MAX));
    }

    /// A plugin resource is gone, and with it what was counted of its component.
    pub fn plugin_gone(&self, component: &str) {
        let calls = self.components().remove(component);
        for call in calls.into_iter().flatten() {
            self.plugin_calls.remove(&call);
            self.plugin_seconds.remove(&call);
        }
        self.plugin_memory.remove(&Component {
            component: component.to_owned(),
        });
    }

    /// An attempt to load a plugin has ended.
    pub fn plugin_loaded(&self, outcome: &'static str) {
        self.plugin_loads.get_or_create(&Load { outcome }).inc();
    }

    /// A plugin was taken back for the version before.
    pub fn plugin_rolled_back(&self) {
        self.plugin_rollbacks.inc();
    }

    /// A request has been answered after that time, or failed.
    pub fn requested(&self, request: &Request, duration: Duration) {
        self.requests.get_or_create(request).inc();
        let verb = Verb { verb: request.verb };
        self.request_seconds
            .get_or_create(&verb)
            .observe(duration.as_secs_f64());
    }

    /// A Dask scheduler has answered after that time, or failed. `operation` is `facts` or `retire`, `outcome`
    /// `success` or what went wrong.
    pub fn asked(&self, operation: &'static str, outcome: &'static str, duration: Duration) {
        self.scheduler_requests
            .get_or_create(&SchedulerRequest { operation, outcome })
            .inc();
        self.scheduler_seconds
            .get_or_create(&Operation { operation })
            .observe(duration.as_secs_f64());
    }

    /// So many Dask schedulers are asked from time to time.
    pub fn schedulers(&self, count: usize) {
        self.schedulers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A watch of `kind` broke.
    pub fn watch_failed(&self, kind: &str) {
        self.watch_errors
            .get_or_create(&ByKind { kind: kind.into() })
            .inc();
    }

    /// A write to an object of `kind` was withheld.
    pub fn withheld(&self, kind: &str) {
        self.withheld.get_or_create(&ByKind { kind: kind.into() }).inc();
    }

    /// Whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// How many objects wait, and for how long the first of them.
    pub fn queue(&self, depth: usize, longest: Duration) {
        self.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.queue_wait.set(longest.as_secs_f64());
    }

    /// How many objects of `kind` are in the store, with that many bytes of JSON.
    pub fn stored(&self, kind: &str, objects: usize, bytes: usize) {
        let kind = ByKind { kind: kind.into() };
        self.objects
            .get_or_create(&kind)
            .set(i64::try_from(objects).unwrap_or(i64::MAX));
        self.object_bytes
            .get_or_create(&kind)
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// All of it, as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_that_come_and_go_make_no_endless_series() {
        let metrics = Metrics::default();
        let call = |component: &str| {
            let call = PluginCall {
                component: component.to_owned(),
                interface: "cluster",
                function: "plan",
                outcome: "success",
            };
            metrics.called(&call, Duration::from_micros(80), 1 << 20);
        };
        let counted = || {
            let text = metrics.text();
            let of_calls = text
                .lines()
                .filter(|line| line.starts_with("dask_operator_plugin_calls_total{"));
            of_calls.count()
        };
        for number in 0..MOST_COMPONENTS + 10 {
            call(&format!("number-{number}"));
        }
        assert_eq!(counted(), MOST_COMPONENTS + 1);
        assert!(metrics.text().contains(r#"plugin_calls_total{component="others",interface="cluster",function="plan",outcome="success"} 10"#));
        metrics.plugin_gone("number-7");
        assert_eq!(counted(), MOST_COMPONENTS);
        assert!(!metrics.text().contains(r#"component="number-7""#));
        call("number-8");
        assert_eq!(counted(), MOST_COMPONENTS);
    }

    #[test]
    fn names_follow_the_conventions() {
        let metrics = Metrics::default();
        metrics.reconciled("DaskCluster", true, Duration::from_millis(3));
        let call = PluginCall {
            component: "cluster".into(),
            interface: "cluster",
            function: "plan",
            outcome: "success",
        };
        metrics.called(&call, Duration::from_micros(80), 1 << 20);
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

    #[test]
    fn what_is_counted_of_a_plugin_goes_with_it() {
        let metrics = Metrics::default();
        let call = |component: &str, outcome| PluginCall {
            component: component.into(),
            interface: "policy",
            function: "admit",
            outcome,
        };
        for component in ["DaskPlugin a/p", "DaskPlugin b/p"] {
            for outcome in ["success", "PluginTrapped"] {
                metrics.called(&call(component, outcome), Duration::from_micros(80), 1 << 20);
            }
        }
        metrics.plugin_gone("DaskPlugin a/p");
        let text = metrics.text();
        assert!(!text.contains("DaskPlugin a/p"), "{text}");
        for name in [
            "plugin_calls_total",
            "plugin_call_duration_seconds_count",
            "plugin_memory_bytes",
        ] {
            let start = format!("dask_operator_{name}{{component=\"DaskPlugin b/p\"");
            assert!(text.contains(&start), "{start} is not in\n{text}");
        }
    }
}
