//! What is counted and measured of plugins.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::PluginId;

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

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Load {
    /// `success`, or what went wrong.
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Component {
    component: String,
}

/// How many components are counted each by itself: of DaskPlugins, and as many others beside them, so that what users of
/// namespaces load has no effect on how an administrator's is counted.
const MOST_COMPONENTS: usize = 256;

/// As what all others are counted.
const OTHERS: &str = "others";

/// The components whose calls are counted.
#[derive(Debug, Default)]
struct Components {
    /// The plugin resources that there are.
    known: HashSet<String>,
    /// The calls that are counted, by the component.
    counted: HashMap<String, HashSet<PluginCall>>,
}

impl Components {
    /// As what a call is counted. What users of a namespace load must not make ever more series: of a component beyond the
    /// [`MOST_COMPONENTS`]th, or of a plugin resource that is gone, a call is one of `others`.
    fn counts(&mut self, call: &PluginCall) -> PluginCall {
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

/// What is counted and measured of plugins.
#[derive(Debug)]
pub struct PluginMetrics {
    calls: Family<PluginCall, Counter>,
    seconds: Family<PluginCall, Histogram>,
    memory: Family<Component, Gauge>,
    /// Locked while something is counted: a plugin that goes meanwhile leaves nothing behind.
    components: Mutex<Components>,
    loads: Family<Load, Counter>,
    rollbacks: Counter,
}

impl PluginMetrics {
    /// All at zero, known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_05, 2.0, 16))),
            memory: Family::default(),
            components: Mutex::default(),
            loads: Family::default(),
            rollbacks: Counter::default(),
        };
        registry.register("plugin_calls", "Calls of components", metrics.calls.clone());
        registry.register_with_unit(
            "plugin_call_duration",
            "Time of a call of a component",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register_with_unit(
            "plugin_memory",
            "Linear memory of a component after its last call",
            Unit::Bytes,
            metrics.memory.clone(),
        );
        registry.register(
            "plugin_loads",
            "Attempts to load what a plugin resource asks for",
            metrics.loads.clone(),
        );
        registry.register(
            "plugin_rollbacks",
            "Plugins that failed in operation and were taken back for the version before",
            metrics.rollbacks.clone(),
        );
        metrics
    }

    fn components(&self) -> MutexGuard<'_, Components> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a plugin resource with this title: what it loads is counted by itself from now on.
    pub fn known(&self, component: &str) {
        self.components().known.insert(component.to_owned());
    }

    /// A call of a component has ended, with that much linear memory in bytes.
    pub fn called(&self, call: &PluginCall, duration: Duration, memory: usize) {
        let mut components = self.components();
        let call = &components.counts(call);
        self.calls.get_or_create(call).inc();
        self.seconds.get_or_create(call).observe(duration.as_secs_f64());
        let component = Component {
            component: call.component.clone(),
        };
        self.memory
            .get_or_create(&component)
            .set(i64::try_from(memory).unwrap_or(i64::MAX));
    }

    /// A plugin resource is gone, and with it what was counted of its component.
    pub fn gone(&self, component: &str) {
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

    /// An attempt to load a plugin has ended.
    pub fn loaded(&self, outcome: &'static str) {
        self.loads.get_or_create(&Load { outcome }).inc();
    }

    /// A plugin was taken back for the version before.
    pub fn rolled_back(&self) {
        self.rollbacks.inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(registry: &Registry) -> String {
        let mut out = String::new();
        encode(&mut out, registry).unwrap_or_else(|error| panic!("{error}"));
        out
    }

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

    /// How many series of calls there are.
    fn series(registry: &Registry) -> usize {
        let text = text(registry);
        let of_calls = text
            .lines()
            .filter(|line| line.starts_with("plugin_calls_total{"));
        of_calls.count()
    }

    /// Whether calls of this component are counted by themselves.
    fn is_counted(registry: &Registry, component: &str) -> bool {
        text(registry).contains(&format!("component=\"{component}\""))
    }

    #[test]
    fn components_that_come_and_go_make_no_endless_series() {
        let mut registry = Registry::default();
        let metrics = PluginMetrics::register(&mut registry);
        let title = |number: usize| format!("DaskPlugin a/number-{number}");
        for number in 0..MOST_COMPONENTS + 10 {
            metrics.known(&title(number));
            count(&metrics, &title(number));
        }
        assert_eq!(series(&registry), MOST_COMPONENTS + 1);
        assert!(text(&registry).contains(r#"plugin_calls_total{component="others",interface="policy",function="admit",outcome="success"} 10"#));
        metrics.gone(&title(7));
        assert_eq!(series(&registry), MOST_COMPONENTS);
        assert!(!is_counted(&registry, &title(7)));
        count(&metrics, &title(8));
        assert_eq!(series(&registry), MOST_COMPONENTS);
    }

    #[test]
    fn administrators_see_theirs_whatever_tenants_load() {
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

    /// A call may end after its plugin was deleted, and nobody would ever take away what is counted of it then.
    #[test]
    fn what_ends_late_is_counted_with_others() {
        let mut registry = Registry::default();
        let metrics = PluginMetrics::register(&mut registry);
        let title = "DaskPlugin a/p";
        metrics.known(title);
        count(&metrics, title);
        metrics.gone(title);
        count(&metrics, title);
        assert!(!is_counted(&registry, title) && is_counted(&registry, OTHERS));
        metrics.known(title);
        count(&metrics, title);
        assert!(is_counted(&registry, title));
    }

    #[test]
    fn what_is_counted_of_a_plugin_goes_with_it() {
        let mut registry = Registry::default();
        let metrics = PluginMetrics::register(&mut registry);
        for component in ["DaskPlugin a/p", "DaskPlugin b/p"] {
            metrics.known(component);
            for outcome in ["success", "PluginTrapped"] {
                metrics.called(&call(component, outcome), Duration::from_micros(80), 1 << 20);
            }
        }
        metrics.gone("DaskPlugin a/p");
        let text = text(&registry);
        assert!(!text.contains("DaskPlugin a/p"), "{text}");
        for name in [
            "plugin_calls_total",
            "plugin_call_duration_seconds_count",
            "plugin_memory_bytes",
        ] {
            let start = format!("{name}{{component=\"DaskPlugin b/p\"");
            assert!(text.contains(&start), "{start} is not in\n{text}");
        }
    }
}
