//! Snapshot that maps each resource to its logic and policies, exchanged as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_api::PluginSource;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_evaluator::logic::LogicPlugin;
use dask_operator_evaluator::policy::PolicyPlugin;
use dask_operator_runtime::Component;

use crate::key::PluginId;
use crate::plugins::entry::{Entry, Subject};
use crate::plugins::error::{PluginError, PluginErrorReason};
use crate::plugins::unavailable;
use crate::selection::Labels;

/// Namespace whose plugins are not known yet. A policy may be among them, so that nothing is decided there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// The namespace; `None` for all.
    pub(crate) namespace: Option<String>,
    /// Message that explains why its plugins are not known, and how to resolve that.
    pub(crate) why: String,
}

/// All active plugins and the resources that they apply to.
#[derive(Clone, Default)]
pub(crate) struct Catalog {
    /// Logic of each kind for resources to which no plugin with logic applies.
    defaults: BTreeMap<DaskKind, Result<Arc<LogicPlugin>, PluginError>>,
    /// Policies from the command line. They apply to all resources and are called last.
    policies: Vec<Arc<PolicyPlugin>>,
    /// Components of the default logic.
    components: Vec<Component>,
    entries: Vec<Entry>,
    /// Known labels of namespaces.
    namespaces: BTreeMap<String, Labels>,
    /// Namespaces in which nothing is decided yet.
    unknown: Vec<Unknown>,
}

impl Catalog {
    /// Creates a catalog with this default logic and these policies, which apply to all resources.
    #[must_use]
    pub(crate) fn new(
        defaults: BTreeMap<DaskKind, Result<Arc<LogicPlugin>, PluginError>>,
        policies: Vec<Arc<PolicyPlugin>>,
    ) -> Self {
        Self {
            defaults,
            policies,
            ..Self::default()
        }
    }

    /// Returns the catalog with these components as those of the default logic.
    #[must_use]
    pub(crate) fn made_of(self, components: Vec<Component>) -> Self {
        Self { components, ..self }
    }

    /// Returns a catalog with these plugins in place of the former ones, and with these labels of namespaces.
    #[must_use]
    pub(crate) fn with(&self, mut entries: Vec<Entry>, namespaces: BTreeMap<String, Labels>) -> Self {
        entries.sort_by(|one, two| {
            let position = |entry: &Entry| (entry.id.namespace.is_none(), entry.order, entry.id.name.clone());
            position(one).cmp(&position(two))
        });
        Self {
            defaults: self.defaults.clone(),
            policies: self.policies.clone(),
            components: self.components.clone(),
            entries,
            namespaces,
            unknown: Vec::new(),
        }
    }

    /// Returns a catalog that returns an error for resources in these namespaces.
    #[must_use]
    pub(crate) fn without(&self, unknown: Vec<Unknown>) -> Self {
        Self {
            unknown,
            ..self.clone()
        }
    }

    /// Returns an error if the plugins of a resource's namespace are not known.
    fn check_known(&self, subject: &Subject<'_>) -> Result<(), PluginError> {
        let concerns = |unknown: &&Unknown| {
            let namespace = unknown.namespace.as_deref();
            namespace.is_none_or(|namespace| namespace == subject.namespace)
        };
        match self.unknown.iter().find(concerns) {
            None => Ok(()),
            Some(unknown) => Err(PluginError {
                title: "plugins".to_owned(),
                reason: PluginErrorReason::PluginsUnknown,
                message: unknown.why.clone(),
            }),
        }
    }

    /// Returns the logic of a resource: the first plugin of its namespace, or else of the cluster, or else the default one.
    ///
    /// # Errors
    ///
    /// Returns an error if the logic can't be used, or if it is not known yet which one applies.
    pub(crate) fn logic(&self, subject: &Subject<'_>) -> Result<Arc<LogicPlugin>, PluginError> {
        self.check_known(subject)?;
        let namespace = self.namespaces.get(subject.namespace);
        for entry in &self.entries {
            if let Some(logic) = entry.logic.get(&subject.kind)
                && entry.concerns(subject, namespace)?
            {
                return logic.clone();
            }
        }
        let missing = || {
            let message = "no component is loaded".to_owned();
            Err(PluginError::unusable(subject.kind.kind(), message))
        };
        self.defaults.get(&subject.kind).cloned().unwrap_or_else(missing)
    }

    /// Returns the policies of a resource in the order of their calls: those of its namespace, then those of the cluster, each by
    /// order and name, then those of the command line.
    ///
    /// # Errors
    ///
    /// Returns an error if a policy that was active can't be used now, or if it is not known yet which ones apply.
    pub(crate) fn policies(&self, subject: &Subject<'_>) -> Result<Vec<Arc<PolicyPlugin>>, PluginError> {
        self.policies_or(subject, Err)
    }

    /// Returns the logic and policies for an admission request. A component that was active and can't be used now is included
    /// and fails, so that the other policies are still called: a plugin of a namespace must not keep policies of the cluster from
    /// being called.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not known yet which ones apply.
    pub(crate) fn at_admission(
        &self,
        subject: &Subject<'_>,
    ) -> Result<(Arc<LogicPlugin>, Vec<Arc<PolicyPlugin>>), PluginError> {
        let logic = match self.logic(subject) {
            Err(error) if !error.reason.is_unknown() => unavailable::logic(error),
            logic => logic?,
        };
        let policies = self.policies_or(subject, |error| Ok(unavailable::policy(error)))?;
        Ok((logic, policies))
    }

    /// Returns the policies of a resource. Calls `replacement` for each one that can't be used now.
    fn policies_or(
        &self,
        subject: &Subject<'_>,
        replacement: impl Fn(PluginError) -> Result<Arc<PolicyPlugin>, PluginError>,
    ) -> Result<Vec<Arc<PolicyPlugin>>, PluginError> {
        self.check_known(subject)?;
        let namespace = self.namespaces.get(subject.namespace);
        let mut policies = Vec::new();
        for entry in &self.entries {
            let Some(policy) = &entry.policy else {
                continue;
            };
            match entry.concerns(subject, namespace) {
                Ok(true) => policies.push(policy.clone().or_else(&replacement)?),
                Ok(false) => {}
                Err(_) if entry.only_monitors() => {}
                Err(error) => return Err(error),
            }
        }
        policies.extend(self.policies.iter().cloned());
        Ok(policies)
    }

    /// Returns whether a policy is one of the cluster or of the command line, and not of a namespace.
    #[must_use]
    pub(crate) fn is_of_cluster(&self, policy: &Arc<PolicyPlugin>) -> bool {
        let of_cluster = self.entries.iter().filter(|entry| entry.id.namespace.is_none());
        let in_force = of_cluster.filter_map(|entry| entry.policy.as_ref()?.as_ref().ok());
        self.policies
            .iter()
            .chain(in_force)
            .any(|known| Arc::ptr_eq(known, policy))
    }

    /// Returns the component that a plugin with this source and digest would have, if it is certain that it is loaded already: by
    /// its digest, or because the active plugin has the same source and the source is not read again.
    #[must_use]
    pub(crate) fn loaded(
        &self,
        id: &PluginId,
        source: &PluginSource,
        digest: Option<&str>,
    ) -> Option<&Component> {
        let plugins = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry, entry.loaded.as_ref()?)));
        if let Some(digest) = digest {
            let mut all = self
                .components
                .iter()
                .chain(plugins.map(|(_, loaded)| &loaded.component));
            return all.find(|component| component.digest().to_string() == digest);
        }
        let mut same = plugins.filter(|(entry, loaded)| entry.id == *id && loaded.source == *source);
        same.next().map(|(_, loaded)| &loaded.component)
    }

    /// Returns the label of the policy with this title in metrics: the title of its ClusterDaskPlugin, or its own title if it is
    /// from the command line. All policies of namespaces share one label, because their number is not limited.
    #[must_use]
    pub(crate) fn label(&self, title: &str) -> String {
        let is_it = |entry: &&Entry| matches!(&entry.policy, Some(Ok(policy)) if policy.title == title);
        match self.entries.iter().find(is_it).map(|entry| &entry.id) {
            Some(id) if id.namespace.is_none() => id.to_string(),
            Some(_) => "DaskPlugin".to_owned(),
            None if self.policies.iter().any(|policy| policy.title == title) => title.to_owned(),
            None => "gone".to_owned(),
        }
    }

    /// Returns whether a namespace has plugins of its own.
    #[must_use]
    pub(crate) fn has_plugins_of(&self, namespace: &str) -> bool {
        let is_there = |entry: &Entry| entry.id.namespace.as_deref() == Some(namespace);
        self.entries.iter().any(is_there)
    }

    /// Returns the errors of default logic that could not be loaded.
    pub(crate) fn broken(&self) -> impl Iterator<Item = &PluginError> {
        self.defaults.values().filter_map(|plugin| plugin.as_ref().err())
    }

    /// Returns the kinds of children of the default logic.
    pub(crate) fn child_kinds(&self) -> impl Iterator<Item = &ResourceKind> {
        self.defaults
            .values()
            .flatten()
            .flat_map(|plugin| &plugin.child_kinds)
    }
}

#[cfg(test)]
mod tests;
