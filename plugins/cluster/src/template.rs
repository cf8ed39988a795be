//! What a scheduler is made from.

use dask_operator_plugin::dask::hash;
use dask_operator_plugin::dask::metadata::{self, Metadata, TEMPLATE_HASH};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::prelude::*;

use crate::Settings;

/// What a cluster says of its scheduler.
#[derive(Debug)]
pub(crate) struct Template<'a> {
    cluster: &'a str,
    metadata: Metadata,
    spec: &'a Value,
    /// [`hash::of_template`] of the resource after defaulting, because that is how the webhook stores it.
    pub(crate) hash: String,
}

impl<'a> Template<'a> {
    /// Reads a cluster, after defaulting.
    pub(crate) fn of(cluster: &Resource<'a>, handed_down: &Metadata) -> Self {
        let mut metadata = handed_down.clone();
        metadata
            .annotations
            .retain(|name, _| !name.starts_with("kubernetes.dask.org/"));
        let spec = &cluster.spec["scheduler"]["spec"];
        let hash = hash::of_template(&metadata, spec);
        Self {
            cluster: cluster.name,
            metadata,
            spec,
            hash,
        }
    }

    /// A new scheduler.
    pub(crate) fn scheduler(&self, name: String, settings: &Settings) -> DesiredChild {
        let labels = metadata::scheduler_labels(self.cluster);
        let mut metadata = self.metadata.clone().without_sidecar().reserved(&labels);
        metadata
            .annotations
            .insert(TEMPLATE_HASH.to_owned(), self.hash.clone());
        let object = settings.workload.object(&metadata, self.spec.clone(), &labels);
        DesiredChild::create(settings.workload.kind().key(name), object)
    }
}
