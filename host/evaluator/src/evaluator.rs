//! The logic plugin, the policies and the allowed kinds that apply to a resource.

use std::fmt;
use std::sync::Arc;

use dask_operator_core::conditions;
use dask_operator_core::gate::{Limits, Rules};
use dask_operator_core::plan::ResourceKind;

use crate::logic::{LogicPlugin, PluginOwner};
use crate::policy::PolicyPlugin;

/// Kinds of children that the administrator allows in addition to the default ones. Clones share the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedKinds {
    administrators: Arc<[ResourceKind]>,
    tenants: Arc<[ResourceKind]>,
}

impl AllowedKinds {
    /// Allows `administrators` for plugins that administrators configure, and `tenants` for all plugins.
    #[must_use]
    pub fn new(administrators: &[ResourceKind], tenants: &[ResourceKind]) -> Self {
        Self {
            administrators: [administrators, tenants].concat().into(),
            tenants: tenants.into(),
        }
    }

    /// Returns the kinds that a plugin of this owner may use in addition to the default ones.
    #[must_use]
    pub fn of(&self, owner: PluginOwner) -> &[ResourceKind] {
        match owner {
            PluginOwner::Administrator => &self.administrators,
            PluginOwner::Tenant => &self.tenants,
        }
    }
}

/// Everything that decides about a resource.
#[derive(Clone)]
pub struct Evaluator {
    /// The logic plugin of the resource's kind.
    pub logic: Arc<LogicPlugin>,
    /// The policies that apply to the resource, in the order in which they are called.
    pub policies: Vec<Arc<PolicyPlugin>>,
    /// Kinds of children that the administrator allows in addition to the default ones.
    pub allowed_kinds: AllowedKinds,
    /// True if mistakes are refused at admission, false if they are only reported.
    pub strict: bool,
}

impl Evaluator {
    /// Returns the rules for plans of the logic plugin.
    #[must_use]
    pub fn rules(&self) -> Rules<'_> {
        Rules {
            declared: &self.logic.child_kinds,
            extra: self.allowed_kinds.of(self.logic.owner),
            host_conditions: &conditions::OF_HOST,
            limits: Limits::default(),
        }
    }

    /// Returns the titles of the logic plugin and of the policies that may have changed its plan.
    #[must_use]
    pub fn titles(&self) -> String {
        if self.policies.is_empty() {
            return self.logic.title.clone();
        }
        let policies: Vec<_> = self.policies.iter().map(|policy| policy.title.as_str()).collect();
        format!("{}, changed by {}", self.logic.title, policies.join(", "))
    }
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluator")
            .field("logic", &self.logic.title)
            .field("policies", &self.policies)
            .field("allowed_kinds", &self.allowed_kinds)
            .field("strict", &self.strict)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_for_administrators_are_not_allowed_to_tenants() {
        let kind = |name: &str| ResourceKind::new("example.org/v1", name);
        let (gadget, widget) = (kind("Gadget"), kind("Widget"));
        let allowed = AllowedKinds::new(std::slice::from_ref(&gadget), std::slice::from_ref(&widget));
        assert_eq!(allowed.of(PluginOwner::Administrator), [gadget, widget.clone()]);
        assert_eq!(allowed.of(PluginOwner::Tenant), [widget]);
        assert!(AllowedKinds::default().of(PluginOwner::Administrator).is_empty());
    }
}
