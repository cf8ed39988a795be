//! Metrics of reconciles.

use std::time::Duration;

use dask_operator_core::parent::DaskKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use crate::metrics::{ByKind, Label, Labelled, Registry, histogram};

/// Returns the label of kinds of parents.
fn kinds() -> Label {
    ("kind", DaskKind::ALL.map(DaskKind::kind).to_vec())
}

/// Labels of reconciles.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Reconcile {
    /// Kind of the parent.
    kind: &'static str,
    result: &'static str,
}

impl Labelled for Reconcile {
    fn labels() -> Vec<Label> {
        vec![kinds(), ("result", vec!["success", "error"])]
    }
}

/// Label of the durations of reconciles.
#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct ParentKind {
    kind: &'static str,
}

impl Labelled for ParentKind {
    fn labels() -> Vec<Label> {
        vec![kinds()]
    }
}

/// Metrics of reconciles. Clones share the same values.
#[derive(Clone, Debug)]
pub(crate) struct ReconcileMetrics {
    reconciles: Family<Reconcile, Counter>,
    seconds: Family<ParentKind, Histogram>,
    withheld: Family<ByKind, Counter>,
}

impl ReconcileMetrics {
    /// Creates the metrics and registers them with `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            reconciles: registry.register("reconciles", "Reconciles by kind and result", Family::default()),
            seconds: registry.register_with_unit(
                "reconcile_duration",
                "Duration of reconciles, including their requests",
                Unit::Seconds,
                Family::new_with_constructor(|| histogram(0.001, 15)),
            ),
            withheld: registry.register(
                "withheld_writes",
                "Writes that were withheld because there were too many to one object, or to the children of one object",
                Family::default(),
            ),
        }
    }

    /// Counts a reconcile of an object of `kind` that has ended.
    pub(crate) fn reconciled(&self, kind: &'static str, success: bool, duration: Duration) {
        let result = if success { "success" } else { "error" };
        self.reconciles.get_or_create(&Reconcile { kind, result }).inc();
        self.seconds
            .get_or_create(&ParentKind { kind })
            .observe(duration.as_secs_f64());
    }

    /// Counts a write to an object of `kind` that was withheld.
    pub(crate) fn withheld(&self, kind: &str) {
        self.withheld.get_or_create(&ByKind { kind: kind.into() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_are_in_the_text() {
        let mut registry = Registry::default();
        let metrics = ReconcileMetrics::register(&mut registry);
        for kind in DaskKind::ALL {
            metrics.reconciled(kind.kind(), true, Duration::from_millis(3));
            metrics.reconciled(kind.kind(), false, Duration::from_millis(3));
        }
        metrics.withheld("Pod");
        registry.assert_has(&[
            r#"dask_operator_reconciles_total{kind="DaskCluster",result="success"} 1"#,
            r#"dask_operator_reconciles_total{kind="DaskCluster",result="error"} 1"#,
            r#"dask_operator_reconcile_duration_seconds_count{kind="DaskCluster"} 2"#,
            r#"dask_operator_withheld_writes_total{kind="Pod"} 1"#,
        ]);
    }
}
