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

/// Returns the page of the documentation that lists all metrics.
#[must_use]
pub fn metrics_page() -> String {
    Metrics::register().registry.page()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::{fs, io};

    use super::*;

    fn docs() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
    }

    #[test]
    fn the_page_is_up_to_date() -> io::Result<()> {
        assert_eq!(
            fs::read_to_string(docs().join("metrics.md"))?,
            metrics_page(),
            "docs/metrics.md differs from the registered metrics: run `make generate`"
        );
        Ok(())
    }

    #[test]
    fn other_pages_name_existing_metrics() -> io::Result<()> {
        let page = metrics_page();
        for entry in fs::read_dir(docs())? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            // A name that ends with an underscore is the start of several.
            for name in words.filter(|word| word.starts_with("dask_operator_") && !word.ends_with('_')) {
                assert!(
                    page.contains(&format!("`{name}`")),
                    "{}: there is no metric {name}",
                    path.display()
                );
            }
        }
        Ok(())
    }
}
