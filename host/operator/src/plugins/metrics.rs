//! Metrics of plugins.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use dask_operator_runtime::{FailureReason, Interface};
use dask_operator_sources::SourceReason;
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use crate::key::PluginId;
use crate::metrics::{Label, Labelled, Registry, gauge_value, histogram, open, outcomes};
use crate::plugins::error::LoadReason;

/// Labels of a call of a component.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
pub(crate) struct PluginCall {
    /// Title of the plugin resource, or else the component's own name.
    pub(crate) component: String,
    /// Name of the interface, such as `worker-group`.
    pub(crate) interface: &'static str,
    /// Name of the function, such as `plan`.
    pub(crate) function: &'static str,
    /// `success`, or the reason of the failure.
    pub(crate) outcome: &'static str,
}

impl Labelled for PluginCall {
    fn labels() -> Vec<Label> {
        let interfaces = Interface::ALL.map(Interface::name).into_iter();
        let functions = vec![
            "plan",
            "child-kinds",
            "default",
            "validate",
            "admit",
            "review-plan",
            "validate-settings",
        ];
        vec![
            open("component"),
            ("interface", interfaces.chain(["describe"]).collect()),
            ("function", functions),
            outcomes(FailureReason::all().into_iter().map(FailureReason::as_str)),
        ]
    }
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Load {
    /// `success`, or the reason of the failure.
    outcome: &'static str,
}

impl Labelled for Load {
    fn labels() -> Vec<Label> {
        let occurs = |reason: &LoadReason| {
            // These are no results of loading: without the file the operator does not start, and a component fails later.
            let never = [
                SourceReason::CertificateFileUnreadable.into(),
                LoadReason::FailsInOperation,
            ];
            !never.contains(reason)
        };
        let reasons = LoadReason::all().into_iter().filter(occurs);
        vec![outcomes(reasons.map(LoadReason::as_str))]
    }
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Component {
    component: String,
}

impl Labelled for Component {
    fn labels() -> Vec<Label> {
        vec![open("component")]
    }
}

/// Number of components with series of their own: of DaskPlugins, and again of all others, so that components of tenants don't
/// affect the series of an administrator's components.
const MOST_COMPONENTS: usize = 256;

/// Label of all other components.
const OTHERS: &str = "others";

/// Components whose calls are counted.
#[derive(Debug, Default)]
struct Components {
    /// Titles of the plugin resources that exist.
    known: HashSet<String>,
    /// Label sets that are counted, by component.
    counted: HashMap<String, HashSet<PluginCall>>,
}

impl Components {
    /// Returns the labels under which a call is counted, and records them. Tenants must not create an unlimited number of series:
    /// a call of a component beyond [`MOST_COMPONENTS`], or of a plugin resource that was deleted, is counted under `others`.
    fn labels_for(&mut self, call: &PluginCall) -> PluginCall {
        let mut call = call.clone();
        let is_gone = PluginId::is_title(&call.component) && !self.known.contains(&call.component);
        if is_gone || !(self.counted.contains_key(&call.component) || self.has_room_for(&call.component)) {
            OTHERS.clone_into(&mut call.component);
        }
        let calls = self.counted.entry(call.component.clone()).or_default();
        if !calls.contains(&call) {
            calls.insert(call.clone());
        }
        call
    }

    fn has_room_for(&self, component: &str) -> bool {
        let is_of_namespace = PluginId::is_title_of_namespace(component);
        let alike =
            |other: &&String| *other != OTHERS && PluginId::is_title_of_namespace(other) == is_of_namespace;
        self.counted.keys().filter(alike).count() < MOST_COMPONENTS
    }
}

/// Metrics of plugins. Clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct PluginMetrics {
    calls: Family<PluginCall, Counter>,
    seconds: Family<PluginCall, Histogram>,
    memory: Family<Component, Gauge>,
    /// Locked during each update, so that a plugin that is deleted meanwhile leaves no series behind.
    components: Arc<Mutex<Components>>,
    loads: Family<Load, Counter>,
    rollbacks: Counter,
}

impl PluginMetrics {
    /// Creates the metrics and registers them with `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            calls: registry.register("plugin_calls", "Calls of components", Family::default()),
            seconds: registry.register_with_unit(
                "plugin_call_duration",
                "Time of a call of a component",
                Unit::Seconds,
                Family::new_with_constructor(|| histogram(0.000_05, 16)),
            ),
            memory: registry.register_with_unit(
                "plugin_memory",
                "Linear memory of a component after its last call",
                Unit::Bytes,
                Family::default(),
            ),
            components: Arc::default(),
            loads: registry.register(
                "plugin_loads",
                "Attempts to load what a plugin resource asks for",
                Family::default(),
            ),
            rollbacks: registry.register(
                "plugin_rollbacks",
                "Plugins that failed in operation and were taken back for the version before",
                Counter::default(),
            ),
        }
    }

    fn components(&self) -> MutexGuard<'_, Components> {
        self.components.lock()
    }

    /// Adds a plugin resource with this title. From now on its component has series of its own.
    pub(crate) fn known(&self, component: &str) {
        self.components().known.insert(component.to_owned());
    }

    /// Counts a call of a component, after which its linear memory has this size in bytes.
    pub(crate) fn called(&self, call: &PluginCall, duration: Duration, memory: usize) {
        let mut components = self.components();
        let call = &components.labels_for(call);
        self.calls.get_or_create(call).inc();
        self.seconds.get_or_create(call).observe(duration.as_secs_f64());
        let component = Component {
            component: call.component.clone(),
        };
        self.memory.get_or_create(&component).set(gauge_value(memory));
    }

    /// Removes a deleted plugin resource and the series of its component.
    pub(crate) fn remove(&self, component: &str) {
        let mut components = self.components();
        components.known.remove(component);
        let calls = components.counted.remove(component);
        for call in calls.into_iter().flatten() {
            self.calls.remove(&call);
            self.seconds.remove(&call);
        }
        self.memory.remove(&Component {
            component: component.to_owned(),
        });
    }

    /// Counts an attempt to load a plugin.
    pub(crate) fn loaded(&self, outcome: &'static str) {
        self.loads.get_or_create(&Load { outcome }).inc();
    }

    /// Counts a rollback of a plugin.
    pub(crate) fn rolled_back(&self) {
        self.rollbacks.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(component: &str, outcome: &'static str) -> PluginCall {
        PluginCall {
            component: component.into(),
            interface: "policy",
            function: "admit",
            outcome,
        }
    }

    fn count(metrics: &PluginMetrics, component: &str) {
        metrics.called(&call(component, "success"), Duration::from_micros(80), 1 << 20);
    }

    /// Number of series of calls.
    fn series(registry: &Registry) -> usize {
        let text = registry.text();
        let of_calls = text
            .lines()
            .filter(|line| line.starts_with("dask_operator_plugin_calls_total{"));
        of_calls.count()
    }

    /// Returns whether this component has series of its own.
    fn is_counted(registry: &Registry, component: &str) -> bool {
        registry.text().contains(&format!("component=\"{component}\""))
    }

    #[test]
    fn all_metrics_are_in_the_text() {
        let mut registry = Registry::default();
        let metrics = PluginMetrics::register(&mut registry);
        let call = PluginCall {
            component: "cluster".into(),
            interface: "cluster",
            function: "plan",
            outcome: "success",
        };
        metrics.called(&call, Duration::from_micros(80), 1 << 20);
        for interface in Interface::LOGIC.map(Interface::name) {
            let function = "validate";
            let call = PluginCall {
                interface,
                function,
                ..call.clone()
            };
            metrics.called(&call, Duration::from_micros(80), 1 << 20);
        }
        metrics.loaded("success");
        metrics.rolled_back();
        registry.assert_has(&[
            r#"dask_operator_plugin_calls_total{component="cluster",interface="cluster",function="plan",outcome="success"} 1"#,
            r#"dask_operator_plugin_call_duration_seconds_count{component="cluster",interface="cluster",function="plan",outcome="success"} 1"#,
            r#"dask_operator_plugin_memory_bytes{component="cluster"} 1048576"#,
            r#"dask_operator_plugin_loads_total{outcome="success"} 1"#,
            "dask_operator_plugin_rollbacks_total 1",
        ]);
    }

    #[test]
    fn the_number_of_series_is_limited() {
        let mut registry = Registry::default();
        let metrics = PluginMetrics::register(&mut registry);
        let title = |number: usize| format!("DaskPlugin a/number-{number}");
        for number in 0..MOST_COMPONENTS + 10 {
            metrics.known(&title(number));
            count(&metrics, &title(number));
        }
        assert_eq!(series(&registry), MOST_COMPONENTS + 1);
        assert!(registry.text().contains(r#"dask_operator_plugin_calls_total{component="others",interface="policy",function="admit",outcome="success"} 10"#));
        metrics.remove(&title(7));
        assert_eq!(series(&registry), MOST_COMPONENTS);
        assert!(!is_counted(&registry, &title(7)));
        count(&metrics, &title(8));
        assert_eq!(series(&registry), MOST_COMPONENTS);
    }

    #[test]
    fn tenants_do_not_displace_series_of_administrators() {
        let mut registry = Registry::default();
        let metrics = PluginMetrics::register(&mut registry);
        for number in 0..2 * MOST_COMPONENTS {
            let title = format!("DaskPlugin a/number-{number}");
            metrics.known(&title);
            count(&metrics, &title);
        }
        metrics.known("ClusterDaskPlugin p");
        for component in ["ClusterDaskPlugin p", "cluster"] {
            count(&metrics, component);
            assert!(is_counted(&registry, component), "{component}");
        }
    }

    /// A call may end after its plugin was deleted; a series that it created would never be removed.
    #[test]
    fn a_call_that_ends_after_deletion_is_counted_with_others() {
        let mut registry = Registry::default();
        let metrics = PluginMetrics::register(&mut registry);
        let title = "DaskPlugin a/p";
        metrics.known(title);
        count(&metrics, title);
        metrics.remove(title);
        count(&metrics, title);
        assert!(!is_counted(&registry, title) && is_counted(&registry, OTHERS));
        metrics.known(title);
        count(&metrics, title);
        assert!(is_counted(&registry, title));
    }

    #[test]
    fn deleting_a_plugin_removes_its_series() {
        let mut registry = Registry::default();
        let metrics = PluginMetrics::register(&mut registry);
        for component in ["DaskPlugin a/p", "DaskPlugin b/p"] {
            metrics.known(component);
            for outcome in ["success", "PluginTrapped"] {
                metrics.called(&call(component, outcome), Duration::from_micros(80), 1 << 20);
            }
        }
        metrics.remove("DaskPlugin a/p");
        let text = registry.text();
        assert!(!text.contains("DaskPlugin a/p"), "{text}");
        for name in [
            "dask_operator_plugin_calls_total",
            "dask_operator_plugin_call_duration_seconds_count",
            "dask_operator_plugin_memory_bytes",
        ] {
            let start = format!("{name}{{component=\"DaskPlugin b/p\"");
            assert!(text.contains(&start), "{start} is not in\n{text}");
        }
    }
}
