//! What the catalog gets of a plugin, in force or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_api::{PluginInterface, PluginMode};
use dask_operator_core::parent::DaskKind;
use dask_operator_render::logic::interface;

use super::super::{Entry, PluginError, Scope};
use super::Known;

impl Known {
    /// Whether it is an administrator's policy, as far as its resource tells, that was there at the start and has neither been
    /// in force nor been found unusable: it may be one whose status is lost, or that was applied while no operator ran. Until
    /// it is known what it says, however long that takes, it holds.
    pub(in super::super) fn holds_first(&self) -> bool {
        let spec = &self.resource.spec;
        let may_be_policy = spec
            .interfaces
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&PluginInterface::Policy));
        self.first
            && self.resource.id.namespace.is_none()
            && spec.mode == PluginMode::Protect
            && may_be_policy
    }

    /// Whether it holds so, and its status does not say that something of it was in force. What stands there of that, as what was
    /// taken back, is about the present spec and stays so.
    pub(in super::super) fn is_unknown(&self) -> bool {
        self.holds_first() && !self.was_in_force()
    }

    /// Whether it decides something, or holds what it is for.
    pub(in super::super) fn counts(&self) -> bool {
        self.good.is_some() || self.was_in_force() || self.holds_first()
    }

    /// What the catalog gets: what is in force; of what was in force and can't be loaded, and of an administrator's policy
    /// until it is known what becomes of it, that it holds; of all else nothing.
    pub(in super::super) fn entry(&self) -> Option<Entry> {
        if let Some(good) = &self.good {
            return Some(good.entry.clone());
        }
        let why = self
            .failure()
            .map_or("it is being loaded", |failure| failure.message.as_str());
        self.held(why, self.resource.scope.clone())
    }

    /// What was in force holds all that is in `scope`, and so does what may be a policy and is loaded for the first time.
    pub(in super::super) fn held(&self, why: &str, scope: Scope) -> Option<Entry> {
        let (status, id) = (&self.resource.status, &self.resource.id);
        let was_in_force = self.was_in_force();
        let (title, message) = if was_in_force {
            let title = format!(
                "{} {} ({}) of {id}",
                status.name.as_deref().unwrap_or("plugin"),
                status.version.as_deref().unwrap_or_default(),
                status.short_digest.as_deref().unwrap_or_default(),
            );
            (title, format!("it was in force and can't be used now: {why}"))
        } else if self.holds_first() {
            let message = format!(
                "it was there when the operator started, and it is not known yet what it says: {why}"
            );
            (id.to_string(), message)
        } else {
            return None;
        };
        let error = PluginError {
            title,
            reason: "PluginNotLoaded",
            message,
        };
        let had = |name: &str| status.interfaces.iter().any(|interface| interface == name);
        let logic: BTreeMap<_, Result<Arc<_>, _>> = DaskKind::ALL
            .into_iter()
            .filter(|kind| had(interface(*kind).name()))
            .map(|kind| (kind, Err(error.clone())))
            .collect();
        let protects = had("policy") && self.resource.spec.mode == PluginMode::Protect;
        let protects = protects || !was_in_force;
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
