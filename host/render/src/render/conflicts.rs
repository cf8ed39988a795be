//! Conflicts between manifests.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use dask_operator_core::names::{DASK_API_VERSION, LABEL_COMPONENT};
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::ResourceKind;
use dask_operator_core::predecessor;
use dask_operator_evaluator::autoscaler_conflict::{default_group, mistake, scaled_group};
use dask_operator_runtime::contract::ObservedObject;
use serde_json::Value;

use super::{Level, PreparedResource, Renderer};

impl PreparedResource {
    /// Returns the kind and name, for messages.
    fn title(&self) -> String {
        format!("{} {}", self.parent.kind.kind(), self.parent.name)
    }

    /// Returns the worker group that this resource scales; `None` if it is not a DaskAutoscaler.
    fn scaled_group(&self) -> Option<String> {
        let scaled = scaled_group(&self.object).filter(|_| self.parent.kind == DaskKind::Autoscaler);
        scaled.map(|(_, group)| group)
    }

    /// Returns true if `owner` created this resource. An export of a cluster contains such resources.
    fn is_child_of(&self, owner: &Parent) -> bool {
        let metadata = &self.object["metadata"];
        let owners = metadata["ownerReferences"].as_array();
        let mut owners = owners.into_iter().flatten();
        let is_owner =
            |reference: &Value| reference["kind"] == owner.kind.kind() && reference["name"] == owner.name;
        owners.any(is_owner)
            || (self.parent.kind == DaskKind::WorkerGroup
                && predecessor::makes(
                    owner,
                    &ResourceKind::new(DASK_API_VERSION, self.parent.kind.kind()),
                    &self.parent.name,
                    metadata["labels"][LABEL_COMPONENT].as_str(),
                ))
    }
}

impl Renderer<'_> {
    /// Reports resources that the manifests contain more than once. The last one takes effect, as with `kubectl apply`.
    pub(super) fn report_duplicates(&mut self) {
        for (before, at) in duplicates(&self.resources) {
            self.resources[before].replaced = true;
            let (source, title) = (self.resources[at].source.clone(), self.resources[at].title());
            let text = format!(
                "{} has a {title} in this namespace too, and the later one replaces it: choose another name, or remove one \
                 of them",
                self.resources[before].source
            );
            self.report(Level::Mistake, &source, &title, "metadata.name", text);
        }
    }

    /// Reports autoscalers that scale the same worker group as an earlier one, as the webhook does.
    pub(super) fn report_autoscaler_conflicts(&mut self) {
        for (other, at, group) in autoscaler_conflicts(&self.resources) {
            let resource = &self.resources[at];
            let (source, title) = (resource.source.clone(), resource.title());
            let (field, text) = mistake(&resource.object, &self.resources[other].parent.name, &group);
            self.report(Level::Mistake, &source, &title, field, text);
        }
    }

    /// Reports if the worker group that the autoscaler at `index` names is in none of the manifests.
    pub(super) fn report_missing_group(&mut self, index: usize, related: &[ObservedObject]) {
        let resource = &self.resources[index];
        let Some(group) = resource.scaled_group() else {
            return;
        };
        let is_group = |object: &ObservedObject| {
            object.key.kind == DaskKind::WorkerGroup.kind() && object.key.name == group
        };
        if group == default_group(&resource.parent.cluster) || related.iter().any(is_group) {
            return;
        }
        let text = format!(
            "there is no DaskWorkerGroup {group} of the DaskCluster {} in these manifests: write the name of one that is on \
             the cluster, or leave it out for the default group",
            resource.parent.cluster
        );
        let (source, title) = (resource.source.clone(), resource.title());
        self.report(Level::Note, &source, &title, "spec.workerGroup", text);
    }

    /// Returns the index in `resources` of the manifest that defines this resource; `None` if there is none.
    pub(super) fn find_written(&self, kind: DaskKind, namespace: &str, name: &str) -> Option<usize> {
        self.resources.iter().position(|resource| {
            let parent = &resource.parent;
            resource.written
                && !resource.replaced
                && parent.kind == kind
                && parent.namespace == namespace
                && parent.name == name
        })
    }

    /// Reports that a manifest defines a resource of the same kind and name as a child of `parent`.
    pub(super) fn report_child_collision(&mut self, parent: &Parent, other: usize) {
        let other = &self.resources[other];
        if other.is_child_of(parent) {
            return;
        }
        let text = format!(
            "{} {} makes a {} of this name itself, and fails where it finds one that it has not made: choose another name",
            parent.kind.kind(),
            parent.name,
            other.parent.kind.kind()
        );
        let (source, title) = (other.source.clone(), other.title());
        self.report(Level::Mistake, &source, &title, "metadata.name", text);
    }
}

/// Returns pairs of indices: a resource that a later one replaces, and the later one.
fn duplicates(resources: &[PreparedResource]) -> Vec<(usize, usize)> {
    let mut last = HashMap::new();
    let mut duplicates = Vec::new();
    for (at, resource) in resources.iter().enumerate() {
        let parent = &resource.parent;
        if let Some(before) = last.insert((parent.kind, &parent.namespace, &parent.name), at) {
            duplicates.push((before, at));
        }
    }
    duplicates
}

/// Returns the indices of two autoscalers that scale the same worker group, the earlier one first, and the group.
fn autoscaler_conflicts(resources: &[PreparedResource]) -> Vec<(usize, usize, String)> {
    let mut first = HashMap::new();
    let mut conflicts = Vec::new();
    for (at, resource) in resources
        .iter()
        .enumerate()
        .filter(|(_, resource)| resource.is_valid && !resource.replaced)
    {
        let Some(group) = resource.scaled_group() else {
            continue;
        };
        match first.entry((&resource.parent.namespace, &resource.parent.cluster, group)) {
            Entry::Vacant(free) => {
                free.insert(at);
            }
            Entry::Occupied(taken) => conflicts.push((*taken.get(), at, taken.key().2.clone())),
        }
    }
    conflicts
}
