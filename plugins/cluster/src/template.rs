//! The template of the scheduler, and its hash.

use dask_operator_plugin::dask::fields;
use dask_operator_plugin::dask::hash;
use dask_operator_plugin::dask::metadata::{self, ANNOTATION_RESTARTED_AT, Metadata};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::time;
use dask_operator_plugin::prelude::*;

use crate::Settings;

/// The desired scheduler according to the cluster.
#[derive(Debug)]
pub(crate) struct Template<'a> {
    cluster: &'a str,
    metadata: Metadata,
    spec: &'a Value,
    /// Hash of the scheduler's spec after defaulting, because the webhook stores it in that form. Labels and annotations are
    /// excluded, because they can be changed on an existing pod. Additions by the operator are excluded too, so that a new
    /// release of it does not make schedulers outdated.
    pub(crate) hash: String,
    /// Time of the requested restart, if any. Schedulers that are older and were not created for it are outdated.
    pub(crate) restarted_at: Option<Timestamp>,
}

impl<'a> Template<'a> {
    /// Reads the template from a cluster, after defaulting.
    pub(crate) fn of(cluster: &Resource<'a>, inherited: &Metadata, now: Timestamp) -> Self {
        let restarted_at = inherited.annotations.get(ANNOTATION_RESTARTED_AT);
        let restarted_at = restarted_at
            .and_then(|time| time::parse(time))
            .filter(|time| *time <= now);
        let spec = &cluster.spec[fields::cluster::SCHEDULER][fields::template::SPEC];
        let hash = hash::of(spec);
        Self {
            cluster: cluster.name,
            metadata: inherited.clone().without_own_annotations(),
            spec,
            hash,
            restarted_at,
        }
    }

    /// Returns the labels and annotations of the scheduler.
    fn metadata(&self) -> Metadata {
        let labels = metadata::scheduler_labels(self.cluster);
        self.metadata.clone().without_sidecar().reserved(&labels)
    }

    /// Returns the labels and annotations that can also be applied to an existing scheduler pod.
    pub(crate) fn changeable_metadata(&self) -> Metadata {
        self.metadata().changeable()
    }

    /// Builds a new scheduler.
    pub(crate) fn scheduler(&self, name: String, settings: &Settings) -> DesiredChild {
        let labels = metadata::scheduler_labels(self.cluster);
        let metadata = self.metadata().of_template(&self.hash, self.restarted_at);
        let object = settings.workload.object(&metadata, self.spec.clone(), &labels);
        DesiredChild::create(settings.workload.kind().key(name), object)
    }
}
