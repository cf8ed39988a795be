//! Handling of watch events: plugin resources, and the labels of namespaces.

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::super::known::{Follow, Known};
use super::super::resource::Resource;
use super::super::watching::{self, WatchEvent};
use super::super::{PluginId, quota};
use super::{Manager, SELECTION};

impl Manager {
    /// Handles an event of a watch.
    pub(super) async fn handle(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Seen(resource) => self.seen(*resource),
            WatchEvent::Gone(id) => self.gone(&id),
            WatchEvent::Listed(scope, ids) => {
                let ids: BTreeSet<_> = ids.into_iter().collect();
                let gone: Vec<_> = self
                    .known
                    .keys()
                    .filter(|id| scope.has(id) && !ids.contains(id))
                    .cloned()
                    .collect();
                gone.iter().for_each(|id| self.gone(id));
                self.unselected.retain(|id, _| !scope.has(id) || ids.contains(id));
                self.awaited.mark_listed(&scope);
            }
            WatchEvent::NotInstalled(scope) => self.awaited.mark_listed(&scope),
            WatchEvent::Unlisted(scope, why) => {
                if self.awaited.set_hindrance(&scope, why) {
                    self.exchange();
                }
            }
            WatchEvent::Namespace(name, labels) => {
                let other_selection = self.selection.labelled(&name, Some(&labels));
                if other_selection {
                    self.selection_changed(&name);
                }
                let other_choice = self.namespaces.seen(&name, labels);
                if other_choice {
                    self.exchange();
                }
                if other_choice || other_selection {
                    (self.swapped)(Some(&name));
                }
            }
            WatchEvent::NamespaceGone(name) => self.namespace_gone(&name),
            WatchEvent::NamespacesListed(all) => {
                for name in self.namespaces.missing(&all) {
                    self.namespace_gone(&name);
                }
                self.health.set_missing(SELECTION, None);
                if self.namespaces.mark_listed() {
                    self.exchange();
                    (self.swapped)(None);
                    self.begin_where(|known| known.resource.scope.by_labels && known.failure().is_some());
                }
                self.apply_parked().await;
            }
            WatchEvent::NamespacesForbidden(why) => {
                if self.selection.is_by_labels() && self.namespaces.is_pending() {
                    self.health.set_missing(SELECTION, Some(why.clone()));
                }
                if self.namespaces.mark_forbidden(why) {
                    self.exchange();
                    (self.swapped)(None);
                }
                self.apply_parked().await;
            }
        }
    }

    /// Removes a deleted namespace and its labels.
    fn namespace_gone(&mut self, name: &str) {
        self.selection.labelled(name, None);
        if self.namespaces.gone(name) {
            self.exchange();
        }
    }

    /// Starts the watch of the labels of namespaces, unless it is running.
    pub(super) fn watch_namespaces(&mut self) {
        if self.namespaces.request() {
            let watch = watching::namespaces(self.means.client.clone(), self.watch_tx.clone());
            self.watches.spawn(watch);
        }
    }

    /// Starts or stops managing the plugins of a namespace, as the selection says.
    fn selection_changed(&mut self, namespace: &str) {
        let is_there = |id: &PluginId| id.namespace.as_deref() == Some(namespace);
        if self.selection.has(namespace) {
            info!(namespace, "started to manage the plugins of the namespace");
            let unselected: Vec<_> = self.unselected.extract_if(.., |id, _| is_there(id)).collect();
            unselected
                .into_iter()
                .for_each(|(_, resource)| self.seen(resource));
        } else {
            info!(namespace, "stopped managing the plugins of the namespace");
            let ids: Vec<_> = self.known.keys().filter(|id| is_there(id)).cloned().collect();
            for id in ids {
                if let Some(known) = self.known.get(&id) {
                    self.unselected.insert(id.clone(), known.resource.clone());
                }
                self.forget(&id);
            }
        }
    }

    fn seen(&mut self, resource: Resource) {
        if !resource.scope.namespaces.selects_all() {
            self.watch_namespaces();
        }
        let id = resource.id.clone();
        if id
            .namespace
            .as_deref()
            .is_some_and(|namespace| !self.selection.has(namespace))
        {
            self.unselected.insert(id, resource);
            return;
        }
        // A new resource with the name of a deleted one.
        if self
            .known
            .get(&id)
            .is_some_and(|known| known.resource.uid != resource.uid)
        {
            self.gone(&id);
        }
        self.metrics.known(&id.to_string());
        match self.known.get_mut(&id) {
            Some(known) if known.resource.generation >= resource.generation => {
                // The leader writes the status and keeps its own copy.
                if !self.leading.now() {
                    known.resource.status = resource.status;
                    let done = known.follow();
                    self.apply_follow(&id, done);
                }
                return;
            }
            Some(known) => {
                let leads = self.leading.now();
                let was_in_catalog = known.is_in_catalog();
                known.update_resource(resource, leads);
                // A plugin that blocks may block no more, or another scope, whatever the attempt results in.
                let may_block = known.good.is_none() && (was_in_catalog || known.is_in_catalog());
                let done = if leads { Follow::Stay } else { known.follow() };
                if may_block {
                    self.exchange();
                    (self.swapped)(id.namespace.as_deref());
                }
                self.apply_follow(&id, done);
            }
            None => {
                let known = Known::new(resource);
                let known = if self.awaited.is_over() {
                    known
                } else {
                    known.at_start()
                };
                self.known.insert(id.clone(), known);
            }
        }
        self.begin(&id);
    }

    /// Applies the effect of the leader's status on a plugin.
    pub(super) fn apply_follow(&mut self, id: &PluginId, done: Follow) {
        match done {
            Follow::Stay => {}
            Follow::Exchanged | Follow::Load => {
                warn!(plugin = %id, "rolled back, as the leader did");
                self.metrics.rolled_back();
                self.exchange();
                (self.swapped)(id.namespace.as_deref());
                if done == Follow::Load {
                    self.begin(id);
                }
            }
            Follow::Look => self.begin(id),
        }
    }

    fn gone(&mut self, id: &PluginId) {
        self.unselected.remove(id);
        self.forget(id);
    }

    fn forget(&mut self, id: &PluginId) {
        let Some(known) = self.known.remove(id) else {
            return;
        };
        self.loads.forget(id);
        self.metrics.gone(&id.to_string());
        if let Some(namespace) = &id.namespace {
            if quota::of_namespace(&self.known, namespace).next().is_none() && self.awaited.is_over() {
                self.remove_unused_components();
            }
            // Other plugins of the namespace may be within the limit now.
            let with_room = quota::no_longer_refused(&self.known, namespace);
            with_room.iter().for_each(|id| self.begin(id));
        }
        if known.is_in_catalog() {
            info!(plugin = %id, "deleted; the remaining plugins decide");
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
    }
}
