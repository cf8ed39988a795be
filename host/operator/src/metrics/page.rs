//! The page `docs/metrics.md`.

use prometheus_client::registry::{Metric, Unit};

use super::{Label, Labelled, PREFIX, Registry};

/// Text before the rows of the page.
const HEAD: &str = "\
<!-- Generated from the code by `make generate`. -->
# Metrics

The operator serves these metrics at port 8080, path `/metrics`: see [installation](install.md#metrics). A histogram has the
samples `_bucket`, `_count` and `_sum`. If a label has a closed set of values, the table lists them. [Plugins](plugins.md#metrics)
and [the webhook](webhook.md#metrics) explain values, and [installation](install.md#isolate-tenants) lists metrics to alert on.

| metric | type | labels | description |
| --- | --- | --- | --- |
";

/// Description of a metric.
#[derive(Debug)]
pub(super) struct Description {
    /// Name in the text; that of a histogram without the suffixes of its samples.
    pub(super) name: String,
    /// `counter`, `gauge` or `histogram`.
    pub(super) metric_type: String,
    pub(super) labels: Vec<Label>,
    help: String,
}

impl Description {
    /// Describes a metric that is registered under `name`.
    pub(super) fn new<M: Metric + Labelled>(name: &str, help: &str, unit: Option<&Unit>, metric: &M) -> Self {
        let metric_type = metric.metric_type().as_str().to_owned();
        let unit = unit.map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let total = if metric_type == "counter" { "_total" } else { "" };
        Self {
            name: format!("{PREFIX}_{name}{unit}{total}"),
            metric_type,
            labels: M::labels(),
            help: help.to_owned(),
        }
    }

    /// Returns the row of the page.
    fn row(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(label_text).collect();
        let labels = if labels.is_empty() {
            "none".to_owned()
        } else {
            labels.join("<br>")
        };
        let Self {
            name,
            metric_type,
            help,
            ..
        } = self;
        format!("| `{name}` | {metric_type} | {labels} | {help} |\n")
    }
}

impl Registry {
    /// Returns the page with all metrics, in the order of their names.
    pub(crate) fn page(&self) -> String {
        let mut described: Vec<_> = self.described.iter().collect();
        described.sort_by_key(|metric| &metric.name);
        let rows: String = described.into_iter().map(Description::row).collect();
        HEAD.to_owned() + &rows
    }
}

/// Returns a label with its values, in Markdown.
fn label_text((name, values): &Label) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
    let between = if values.is_empty() { "" } else { ": " };
    format!("`{name}`{between}{}", values.join(", "))
}
