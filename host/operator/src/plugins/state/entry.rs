//! Catalog entry of a plugin, active or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_api::{PluginInterface, PluginMode};
use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::logic::interface;

use super::PluginState;
use crate::plugins::entry::{Entry, Scope};
use crate::plugins::error::{PluginError, PluginErrorReason};

impl PluginState {
    /// Returns whether the plugin blocks its scope because its component is not known: it may be a protecting policy of the
    /// cluster, it existed at the start, and its present spec was not found unusable. Its status may be lost, or it may have been
    /// applied while no operator was running. It blocks until it has been tried, however long that takes.
    pub(in crate::plugins) fn blocks_untried(&self) -> bool {
        let spec = &self.resource.spec;
        let may_be_policy = spec
            .interfaces
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&PluginInterface::Policy));
        self.untried
            && self.resource.id.namespace.is_none()
            && spec.mode == PluginMode::Protect
            && may_be_policy
    }

    /// Returns whether the plugin blocks untried and its status names no version that was active. A status that names one, and
    /// perhaps a version that was rolled back, is about the present spec and stays so.
    pub(in crate::plugins) fn is_unknown(&self) -> bool {
        self.blocks_untried() && !self.was_active()
    }

    /// Returns whether the plugin decides something or blocks its scope.
    pub(in crate::plugins) fn is_in_catalog(&self) -> bool {
        self.active.is_some() || self.was_active() || self.blocks_untried()
    }

    /// Returns the catalog entry: the active version, or one that blocks if a version was active and can't be loaded, or if the
    /// plugin may be a policy of the cluster that has not been tried. `None` for all other plugins.
    pub(in crate::plugins) fn entry(&self) -> Option<Entry> {
        if let Some(active) = &self.active {
            return Some(active.entry.clone());
        }
        let why = self
            .failure()
            .map_or("it is being loaded", |failure| failure.message.as_str());
        self.blocking_entry(why, self.resource.scope.clone())
    }

    /// Returns an entry that blocks all resources in `scope`, if a version was active or the plugin may be an untried policy.
    pub(in crate::plugins) fn blocking_entry(&self, why: &str, scope: Scope) -> Option<Entry> {
        let (status, id) = (&self.resource.status, &self.resource.id);
        let was_active = self.was_active();
        let (title, message) = if was_active {
            let title = format!(
                "{} {} ({}) of {id}",
                status.name.as_deref().unwrap_or("plugin"),
                status.version.as_deref().unwrap_or_default(),
                status.short_digest.as_deref().unwrap_or_default(),
            );
            (title, format!("it was in force and can't be used now: {why}"))
        } else if self.blocks_untried() {
            let message = format!(
                "it was there when the operator started, and it is not known yet what it says: {why}"
            );
            (id.to_string(), message)
        } else {
            return None;
        };
        let error = PluginError {
            title,
            reason: PluginErrorReason::NotLoaded,
            message,
        };
        let had = |name: &str| status.interfaces.iter().any(|interface| interface == name);
        let logic: BTreeMap<_, Result<Arc<_>, _>> = DaskKind::ALL
            .into_iter()
            .filter(|kind| had(interface(*kind).name()))
            .map(|kind| (kind, Err(error.clone())))
            .collect();
        let protects = had("policy") && self.resource.spec.mode == PluginMode::Protect;
        let protects = protects || !was_active;
        Some(Entry {
            id: id.clone(),
            scope,
            order: self.resource.spec.order,
            logic,
            policy: protects.then_some(Err(error)),
            loaded: None,
        })
    }
}
