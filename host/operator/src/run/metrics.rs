//! Metrics of all parts of the operator.

use crate::client::metrics::ApiMetrics;
use crate::controller::metrics::ControllerMetrics;
use crate::metrics::Registry;
use crate::plugins::metrics::PluginMetrics;
use crate::reconcile::metrics::ReconcileMetrics;
use crate::schedulers::metrics::SchedulerMetrics;
use crate::webhook::metrics::WebhookMetrics;

/// Metrics of all parts, and the registry that has them.
pub(super) struct Metrics {
    pub(super) registry: Registry,
    pub(super) api: ApiMetrics,
    pub(super) controller: ControllerMetrics,
    pub(super) plugins: PluginMetrics,
    pub(super) reconcile: ReconcileMetrics,
    pub(super) schedulers: SchedulerMetrics,
    pub(super) webhook: WebhookMetrics,
}

impl Metrics {
    /// Registers the metrics of all parts.
    pub(super) fn register() -> Self {
        let mut registry = Registry::default();
        Self {
            reconcile: ReconcileMetrics::register(&mut registry),
            controller: ControllerMetrics::register(&mut registry),
            api: ApiMetrics::register(&mut registry),
            schedulers: SchedulerMetrics::register(&mut registry),
            plugins: PluginMetrics::register(&mut registry),
            webhook: WebhookMetrics::register(&mut registry),
            registry,
        }
    }
}
