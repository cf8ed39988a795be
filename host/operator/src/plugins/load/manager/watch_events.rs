//! Handling of watch events: plugin resources, and the labels of namespaces.

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::{Manager, SELECTION};
use crate::key::PluginId;
use crate::plugins::load::watch::{self, WatchEvent};
use crate::plugins::quota;
use crate::plugins::resource::Resource;
use crate::plugins::state::{FollowerAction, PluginState};

impl Manager {
    /// Handles an event of a watch.
    pub(super) async fn handle(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Changed(resource) => self.changed(*resource),
            WatchEvent::Deleted(id) => self.deleted(&id),
            WatchEvent::Listed(scope, ids) => {
                let ids: BTreeSet<_> = ids.into_iter().collect();
                let gone: Vec<_> = self
                    .states
                    .keys()
                    .filter(|id| scope.has(id) && !ids.contains(id))
                    .cloned()
                    .collect();
                gone.iter().for_each(|id| self.deleted(id));
                self.unselected.retain(|id, _| !scope.has(id) || ids.contains(id));
                self.startup.mark_listed(&scope);
            }
            WatchEvent::NotInstalled(scope) => self.startup.mark_listed(&scope),
            WatchEvent::NotListable(scope, why) => {
                if self.startup.set_unlisted_reason(&scope, why) {
                    self.exchange();
                }
            }
            WatchEvent::NamespaceLabels(name, labels) => {
                let other_selection = self.selection.labelled(&name, Some(&labels));
                if other_selection {
                    self.selection_changed(&name);
                }
                let other_choice = self.namespaces.set(&name, labels);
                if other_choice {
                    self.exchange();
                }
                if other_choice || other_selection {
                    (self.swapped)(Some(&name));
                }
            }
            WatchEvent::NamespaceDeleted(name) => self.namespace_deleted(&name),
            WatchEvent::NamespacesListed(all) => {
                for name in self.namespaces.missing(&all) {
                    self.namespace_deleted(&name);
                }
                self.health.set_missing(SELECTION, None);
                if self.namespaces.mark_listed() {
                    self.exchange();
                    (self.swapped)(None);
                    self.begin_where(|state| state.resource.scope.by_labels && state.failure().is_some());
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
    fn namespace_deleted(&mut self, name: &str) {
        self.selection.labelled(name, None);
        if self.namespaces.remove(name) {
            self.exchange();
        }
    }

    /// Starts the watch of the labels of namespaces, unless it is running.
    pub(super) fn watch_namespaces(&mut self) {
        if self.namespaces.request() {
            let watch = watch::namespaces(self.context.client.clone(), self.watch_tx.clone());
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
                .for_each(|(_, resource)| self.changed(resource));
        } else {
            info!(namespace, "stopped managing the plugins of the namespace");
            let ids: Vec<_> = self.states.keys().filter(|id| is_there(id)).cloned().collect();
            for id in ids {
                if let Some(state) = self.states.get(&id) {
                    self.unselected.insert(id.clone(), state.resource.clone());
                }
                self.forget(&id);
            }
        }
    }

    fn changed(&mut self, resource: Resource) {
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
            .states
            .get(&id)
            .is_some_and(|state| state.resource.uid != resource.uid)
        {
            self.deleted(&id);
        }
        self.metrics.known(&id.to_string());
        match self.states.get_mut(&id) {
            Some(state) if state.resource.generation >= resource.generation => {
                // The leader writes the status and keeps its own copy.
                if !self.leadership.now() {
                    state.resource.status = resource.status;
                    let action = state.follow();
                    self.apply_follow(&id, action);
                }
                return;
            }
            Some(state) => {
                let leads = self.leadership.now();
                let was_in_catalog = state.is_in_catalog();
                state.spec_changed(resource, leads);
                // A plugin that blocks may block no more, or another scope, whatever the attempt results in.
                let may_block = state.active.is_none() && (was_in_catalog || state.is_in_catalog());
                let action = if leads {
                    FollowerAction::Nothing
                } else {
                    state.follow()
                };
                if may_block {
                    self.exchange();
                    (self.swapped)(id.namespace.as_deref());
                }
                self.apply_follow(&id, action);
            }
            None => {
                let state = PluginState::new(resource);
                let state = if self.startup.is_over() {
                    state
                } else {
                    state.at_start()
                };
                self.states.insert(id.clone(), state);
            }
        }
        self.begin(&id);
    }

    /// Applies the effect of the leader's status on a plugin.
    pub(super) fn apply_follow(&mut self, id: &PluginId, action: FollowerAction) {
        match action {
            FollowerAction::Nothing => {}
            FollowerAction::Exchanged | FollowerAction::LoadPrevious => {
                warn!(plugin = %id, "rolled back, as the leader did");
                self.metrics.rolled_back();
                self.exchange();
                (self.swapped)(id.namespace.as_deref());
                if action == FollowerAction::LoadPrevious {
                    self.begin(id);
                }
            }
            FollowerAction::FetchSource => self.begin(id),
        }
    }

    fn deleted(&mut self, id: &PluginId) {
        self.unselected.remove(id);
        self.forget(id);
    }

    fn forget(&mut self, id: &PluginId) {
        let Some(state) = self.states.remove(id) else {
            return;
        };
        self.queue.forget(id);
        self.metrics.remove(&id.to_string());
        if let Some(namespace) = &id.namespace {
            if quota::of_namespace(&self.states, namespace).next().is_none() && self.startup.is_over() {
                self.remove_unused_components();
            }
            // Other plugins of the namespace may be within the limit now.
            let with_room = quota::no_longer_refused(&self.states, namespace);
            with_room.iter().for_each(|id| self.begin(id));
        }
        if state.is_in_catalog() {
            info!(plugin = %id, "deleted; the remaining plugins decide");
            self.exchange();
            (self.swapped)(id.namespace.as_deref());
        }
    }
}
