//! A worker's object, made once and filled in for each worker.

use dask_operator_plugin::dask::metadata::{self, Metadata, RESTARTED_AT, TEMPLATE_HASH};
use dask_operator_plugin::dask::resource::Resource;
use dask_operator_plugin::dask::{address, environment, hash, time};
use dask_operator_plugin::prelude::*;

use crate::Settings;
use crate::wanted::Wanted;

/// The text of a worker's object, cut where its name belongs. A group may have thousands of workers that differ in
/// nothing else.
#[derive(Debug)]
pub(crate) struct Template {
    kind: ResourceKind,
    pieces: Vec<String>,
}

impl Template {
    /// The workers of `group` in `cluster`, both after defaulting.
    pub(crate) fn of(
        group: &Resource<'_>,
        cluster: &Resource<'_>,
        settings: &Settings,
        wanted: &Wanted,
    ) -> Self {
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
            .insert(TEMPLATE_HASH.to_owned(), wanted.template_hash.clone());
        if let Some(time) = wanted.restarted_at {
            metadata
                .annotations
                .insert(RESTARTED_AT.to_owned(), time::format_exactly(time));
        }
        let object = settings.workload.object(&metadata, pod_spec, &labels);
        let pieces = json_text(&object).split(&stand_in).map(str::to_owned).collect();
        Self {
            kind: settings.workload.kind(),
            pieces,
        }
    }

    /// How many bytes a worker's object has, its name aside, which is short.
    pub(crate) fn size(&self) -> usize {
        self.pieces.iter().map(String::len).sum::<usize>().max(1)
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

/// The hash of a worker's spec, after defaulting, because that is how the webhook stores it. Workers of another hash are
/// outdated. Labels and annotations are not in it: they can be changed on a pod that exists. Nor is what the operator adds
/// (names, addresses, environment), so that no release of it makes a worker outdated.
pub(crate) fn hash(group: &Resource<'_>) -> String {
    hash::of(&group.spec["worker"]["spec"])
}

/// Labels and annotations that each worker's pod shall have, also one that exists.
pub(crate) fn changeable_metadata(
    group: &Resource<'_>,
    cluster: &Resource<'_>,
    settings: &Settings,
) -> Metadata {
    metadata(group, cluster, settings)
        .reserved(&metadata::worker_labels(cluster.name, group.name))
        .changeable()
}

/// A worker's labels and annotations but the reserved ones: the cluster's labels, below the group's, below those of
/// `spec.worker`. The cluster's annotations reach only the group that it makes itself. The operator's own annotations
/// say something about the group and nothing about its workers.
fn metadata(group: &Resource<'_>, cluster: &Resource<'_>, settings: &Settings) -> Metadata {
    let ignored = settings.ignored();
    let cluster_labels = Metadata::of(cluster.object, &ignored).labels;
    let mut metadata = Metadata::of(group.object, &ignored)
        .below(Metadata::embedded(group.spec["worker"].get("metadata")))
        .with_default_labels(cluster_labels)
        .without_sidecar();
    metadata
        .annotations
        .retain(|name, _| !name.starts_with("kubernetes.dask.org/"));
    metadata
}
