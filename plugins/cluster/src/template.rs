//! What a scheduler is made from.

use dask_operator_plugin::dask::hash;
use dask_operator_plugin::dask::metadata::{self, Metadata, RESTARTED_AT, TEMPLATE_HASH};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::Settings;

/// What a cluster says of its scheduler.
#[derive(Debug)]
pub(crate) struct Template<'a> {
    cluster: &'a str,
    metadata: Metadata,
    spec: &'a Value,
    /// The hash of the scheduler's spec after defaulting, because that is how the webhook stores it. Labels and annotations are
    /// not in it: they can be changed on a pod that exists. Nor is what the operator adds, so that no release of it makes a
    /// scheduler outdated.
    pub(crate) hash: String,
    /// Schedulers that are older than this, and were not made for it, are outdated.
    pub(crate) restarted_at: Option<Timestamp>,
}

impl<'a> Template<'a> {
    /// Reads a cluster, after defaulting.
    pub(crate) fn of(cluster: &Resource<'a>, handed_down: &Metadata, now: Timestamp) -> Self {
        let mut metadata = handed_down.clone();
        let restarted_at = handed_down.annotations.get(RESTARTED_AT);
        let restarted_at = restarted_at
            .and_then(|time| time::parse(time))
            .filter(|time| *time <= now);
        metadata
            .annotations
            .retain(|name, _| !name.starts_with("kubernetes.dask.org/"));
        let spec = &cluster.spec["scheduler"]["spec"];
        let hash = hash::of(spec);
        Self {
            cluster: cluster.name,
            metadata,
            spec,
            hash,
            restarted_at,
        }
    }

    /// A scheduler's labels and annotations.
    fn metadata(&self) -> Metadata {
        let labels = metadata::scheduler_labels(self.cluster);
        self.metadata.clone().without_sidecar().reserved(&labels)
    }

    /// Labels and annotations that the scheduler's pod shall have, also one that exists.
    pub(crate) fn changeable_metadata(&self) -> Metadata {
        self.metadata().changeable()
    }

    /// A new scheduler.
    pub(crate) fn scheduler(&self, name: String, settings: &Settings) -> DesiredChild {
        let labels = metadata::scheduler_labels(self.cluster);
        let mut metadata = self.metadata();
        metadata
            .annotations
            .insert(TEMPLATE_HASH.to_owned(), self.hash.clone());
        if let Some(time) = self.restarted_at {
            metadata
                .annotations
                .insert(RESTARTED_AT.to_owned(), time::format_exactly(time));
        }
        let object = settings.workload.object(&metadata, self.spec.clone(), &labels);
        DesiredChild::create(settings.workload.kind().key(name), object)
    }
}
