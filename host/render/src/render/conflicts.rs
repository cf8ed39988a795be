//! What of the manifests does not go together with other ones.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::{DaskKind, Parent};
use dask_operator_core::plan::ResourceKind;
use dask_operator_core::predecessor;
use dask_operator_runtime::contract::ObservedObject;
use serde_json::Value;

use super::{Known, Level, Renderer};
use crate::rivals::{default_group, mistake, scaled};

impl Known {
    fn title(&self) -> String {
        format!("{} {}", self.parent.kind.kind(), self.parent.name)
    }

    /// The worker group that it scales, if it is a DaskAutoscaler.
    fn scales(&self) -> Option<String> {
        let scaled = scaled(&self.object).filter(|_| self.parent.kind == DaskKind::Autoscaler);
        scaled.map(|(_, group)| group)
    }

    /// Whether it stands there as what `owner` has made, as in an export.
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
                    metadata["labels"]["dask.org/component"].as_str(),
                ))
    }
}

impl Renderer<'_> {
    /// Says which resources the manifests have twice. The last one counts, as with `kubectl apply`.
    pub(super) fn twice(&mut self) {
        for (before, at) in twice(&self.known) {
            self.known[before].replaced = true;
            let (source, title) = (self.known[at].source.clone(), self.known[at].title());
            let text = format!(
                "{} has a {title} in this namespace too, and the later one replaces it: choose another name, or remove one \
                 of them",
                self.known[before].source
            );
            self.say(Level::Mistake, &source, &title, "metadata.name", text);
        }
    }

    /// Says which autoscalers scale a worker group that another one before them scales, as the webhook does.
    pub(super) fn rivals(&mut self) {
        for (other, at, group) in rivals(&self.known) {
            let known = &self.known[at];
            let (source, title) = (known.source.clone(), known.title());
            let (field, text) = mistake(&known.object, &self.known[other].parent.name, &group);
            self.say(Level::Mistake, &source, &title, field, text);
        }
    }

    /// Says that the worker group that the autoscaler at `index` names is in none of the manifests.
    pub(super) fn named_group(&mut self, index: usize, related: &[ObservedObject]) {
        let known = &self.known[index];
        let Some(group) = known.scales() else {
            return;
        };
        let is_it = |object: &ObservedObject| {
            object.key.kind == DaskKind::WorkerGroup.kind() && object.key.name == group
        };
        if group == default_group(&known.parent.cluster) || related.iter().any(is_it) {
            return;
        }
        let text = format!(
            "there is no DaskWorkerGroup {group} of the DaskCluster {} in these manifests: write the name of one that is on \
             the cluster, or leave it out for the default group",
            known.parent.cluster
        );
        let (source, title) = (known.source.clone(), known.title());
        self.say(Level::Note, &source, &title, "spec.workerGroup", text);
    }

    /// The manifest that has this resource.
    pub(super) fn written(&self, kind: DaskKind, namespace: &str, name: &str) -> Option<usize> {
        self.known.iter().position(|known| {
            let parent = &known.parent;
            known.written
                && !known.replaced
                && parent.kind == kind
                && parent.namespace == namespace
                && parent.name == name
        })
    }

    /// Says that a manifest has a resource that `parent` makes itself.
    pub(super) fn made_by_another(&mut self, parent: &Parent, other: usize) {
        let other = &self.known[other];
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
        self.say(Level::Mistake, &source, &title, "metadata.name", text);
    }
}

/// The places of resources that a later one replaces, and of that one.
fn twice(known: &[Known]) -> Vec<(usize, usize)> {
    let mut last = HashMap::new();
    let mut twice = Vec::new();
    for (at, known) in known.iter().enumerate() {
        let parent = &known.parent;
        if let Some(before) = last.insert((parent.kind, &parent.namespace, &parent.name), at) {
            twice.push((before, at));
        }
    }
    twice
}

/// The places of two autoscalers that scale the same worker group, and which group.
fn rivals(known: &[Known]) -> Vec<(usize, usize, String)> {
    let mut first = HashMap::new();
    let mut rivals = Vec::new();
    for (at, known) in known
        .iter()
        .enumerate()
        .filter(|(_, known)| known.fit && !known.replaced)
    {
        let Some(group) = known.scales() else {
            continue;
        };
        match first.entry((&known.parent.namespace, &known.parent.cluster, group)) {
            Entry::Vacant(free) => {
                free.insert(at);
            }
            Entry::Occupied(taken) => rivals.push((*taken.get(), at, taken.key().2.clone())),
        }
    }
    rivals
}
