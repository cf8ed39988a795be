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

/// How many components are counted each by itself.
const MOST_COMPONENTS: usize = 256;

/// As what all others are counted.
const OTHERS: &str = "others";

/// What is counted and measured of plugins.
#[derive(Debug)]
pub struct PluginMetrics {
    calls: Family<PluginCall, Counter>,
    seconds: Family<PluginCall, Histogram>,
    memory: Family<Component, Gauge>,
    /// The calls that are counted, by the component.
    components: Mutex<HashMap<String, HashSet<PluginCall>>>,
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
        let calls = self.components().remove(component);
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

    #[test]
    fn components_that_come_and_go_make_no_endless_series() {
        let mut registry = Registry::default();
        let metrics = PluginMetrics::register(&mut registry);
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
            let text = text(&registry);
            let of_calls = text
                .lines()
                .filter(|line| line.starts_with("plugin_calls_total{"));
            of_calls.count()
        };
        for number in 0..MOST_COMPONENTS + 10 {
            call(&format!("number-{number}"));
        }
        assert_eq!(counted(), MOST_COMPONENTS + 1);
        assert!(text(&registry).contains(r#"plugin_calls_total{component="others",interface="cluster",function="plan",outcome="success"} 10"#));
        metrics.gone("number-7");
        assert_eq!(counted(), MOST_COMPONENTS);
        assert!(!text(&registry).contains(r#"component="number-7""#));
        call("number-8");
        assert_eq!(counted(), MOST_COMPONENTS);
    }

    #[test]
    fn what_is_counted_of_a_plugin_goes_with_it() {
        let mut registry = Registry::default();
        let metrics = PluginMetrics::register(&mut registry);
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
