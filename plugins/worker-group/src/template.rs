//! The template of workers, which is built once per plan and completed for each worker.

use dask_operator_plugin::dask::metadata::{self, Metadata};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::{address, environment, fields};
use dask_operator_plugin::prelude::*;

use crate::Settings;
use crate::desired::Desired;

/// The text of a worker's object, split at its name. A group may have thousands of workers that differ only in their
/// names.
#[derive(Debug)]
pub(crate) struct Template {
    kind: ResourceKind,
    pieces: Vec<String>,
}

impl Template {
    /// Builds the template for the workers of `group` in `cluster`, both after defaulting.
    pub(crate) fn of(
        group: &Resource<'_>,
        cluster: &Resource<'_>,
        settings: &Settings,
        desired: &Desired,
    ) -> Self {
        let worker = &group.spec[fields::worker_group::WORKER];
        // A placeholder for the name, which must not occur in the spec.
        let mut placeholder = "worker-name-stand-in".to_owned();
        while contains_text(worker, &placeholder) {
            placeholder.push('-');
        }
        let domain = settings.cluster_domain.as_deref();
        let address = address::scheduler_address(cluster.name, group.namespace, cluster.spec, domain);
        let mut pod_spec = worker[fields::template::SPEC].clone();
        let variables = [
            (environment::WORKER_NAME, placeholder.as_str()),
            (environment::SCHEDULER_ADDRESS, address.as_str()),
        ];
        environment::inject(&mut pod_spec, &variables);
        let labels = metadata::worker_labels(cluster.name, group.name);
        let metadata = metadata(group, cluster, settings)
            .reserved(&labels)
            .of_template(&desired.template_hash, desired.restarted_at);
        let object = settings.workload.object(&metadata, pod_spec, &labels);
        let pieces = json_text(&object)
            .split(&placeholder)
            .map(str::to_owned)
            .collect();
        Self {
            kind: settings.workload.kind(),
            pieces,
        }
    }

    /// Adds `count` new workers to `children`: one object, and copies of it.
    pub(crate) fn add_workers(
        &self,
        children: &mut Vec<DesiredChild>,
        count: usize,
        mut names: impl Iterator<Item = String>,
    ) {
        let Ok(original) = u32::try_from(children.len()) else {
            return;
        };
        let Some(name) = names.find(|name| self.can_be_copied(name)) else {
            return;
        };
        children.push(DesiredChild {
            action: ChildAction::Create(self.pieces.join(&name)),
            key: self.kind.key(name),
        });
        let copies = names.take(count - 1);
        children.extend(copies.map(|name| DesiredChild::copy(self.kind.key(name), original)));
    }

    /// Returns whether the name would occur in the object only where a name belongs, so that copies can replace it.
    fn can_be_copied(&self, name: &str) -> bool {
        self.pieces.join(name).split(name).eq(self.pieces.iter())
    }
}

/// Returns whether a text occurs in any string or field name of a value.
fn contains_text(value: &Value, needle: &str) -> bool {
    match value {
        Value::String(text) => text.contains(needle),
        Value::Array(items) => items.iter().any(|item| contains_text(item, needle)),
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| name.contains(needle) || contains_text(member, needle)),
        _ => false,
    }
}

/// Returns the labels and annotations that can also be applied to an existing worker pod.
pub(crate) fn changeable_metadata(
    group: &Resource<'_>,
    cluster: &Resource<'_>,
    settings: &Settings,
) -> Metadata {
    metadata(group, cluster, settings)
        .reserved(&metadata::worker_labels(cluster.name, group.name))
        .changeable()
}

/// Returns the labels and annotations of a worker, without the reserved ones: the cluster's labels are overridden by those
/// of the group, and these by those of `spec.worker`. The cluster's annotations are only inherited by the default group.
/// The operator's own annotations describe the group and not its workers.
fn metadata(group: &Resource<'_>, cluster: &Resource<'_>, settings: &Settings) -> Metadata {
    let ignored = settings.ignored();
    let cluster_labels = Metadata::of(cluster.object, &ignored).labels;
    Metadata::of(group.object, &ignored)
        .below(Metadata::embedded(
            group.spec[fields::worker_group::WORKER].get(fields::template::METADATA),
        ))
        .with_default_labels(cluster_labels)
        .without_sidecar()
        .without_own_annotations()
}
