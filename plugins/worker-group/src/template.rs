//! A worker's object, made once and filled in for each worker.

use dask_operator_plugin::dask::metadata::{self, Metadata, TEMPLATE_HASH};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::{address, environment, hash};
use dask_operator_plugin::prelude::*;

use crate::Settings;

/// The text of a worker's object, cut where its name belongs. A group may have thousands of workers that differ in
/// nothing else.
#[derive(Debug)]
pub(crate) struct Template {
    kind: ResourceKind,
    pieces: Vec<String>,
}

impl Template {
    /// The workers of `group` in `cluster`, both after defaulting.
    pub(crate) fn of(group: &Resource<'_>, cluster: &Resource<'_>, settings: &Settings, hash: &str) -> Self {
        let worker = &group.spec["worker"];
        // A word that nobody wrote, to stand for the name until there is one.
        let mut stand_in = "worker-name-stand-in".to_owned();
        while has_word(worker, &stand_in) {
            stand_in.push('-');
        }
        let domain = settings.cluster_domain.as_deref();
        let address = address::scheduler_address(cluster.name, group.namespace, cluster.spec, domain);
        let mut pod_spec = worker["spec"].clone();
        let variables = [
            (environment::WORKER_NAME, stand_in.as_str()),
            (environment::SCHEDULER_ADDRESS, address.as_str()),
        ];
        environment::inject(&mut pod_spec, &variables);
        let labels = metadata::worker_labels(cluster.name, group.name);
        let mut metadata = metadata(group, cluster, settings).reserved(&labels);
        metadata
            .annotations
            .insert(TEMPLATE_HASH.to_owned(), hash.to_owned());
        let object = settings.workload.object(&metadata, pod_spec, &labels);
        let pieces = json_text(&object).split(&stand_in).map(str::to_owned).collect();
        Self {
            kind: settings.workload.kind(),
            pieces,
        }
    }

    /// The worker of that name.
    pub(crate) fn worker(&self, name: String) -> DesiredChild {
        let object = self.pieces.join(&name);
        DesiredChild {
            key: self.kind.key(name),
            action: ChildAction::Create(object),
        }
    }
}

/// Whether a word stands in any text of a value, names of fields among them.
fn has_word(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) => text.contains(word),
        Value::Array(items) => items.iter().any(|item| has_word(item, word)),
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| name.contains(word) || has_word(member, word)),
        _ => false,
    }
}

/// [`hash::of_template`] of a group's workers, from the resources after defaulting, because that is how the webhook stores
/// them. Workers of another hash are outdated.
pub(crate) fn hash(group: &Resource<'_>, cluster: &Resource<'_>, settings: &Settings) -> String {
    hash::of_template(&metadata(group, cluster, settings), &group.spec["worker"]["spec"])
}

/// A worker's labels and annotations but the reserved ones: the cluster's labels, below the group's, below those of
/// `spec.worker`. The cluster's annotations reach only the group that it makes itself. The operator's own annotations
/// say something about the group and nothing about its workers.
fn metadata(group: &Resource<'_>, cluster: &Resource<'_>, settings: &Settings) -> Metadata {
    let cluster_labels = Metadata::of(cluster.object, &[]).labels;
    let mut metadata = Metadata::of(group.object, &settings.ignored_annotations)
        .below(Metadata::embedded(group.spec["worker"].get("metadata")))
        .with_default_labels(cluster_labels)
        .without_sidecar();
    metadata
        .annotations
        .retain(|name, _| !name.starts_with("kubernetes.dask.org/"));
    metadata
}
