//! Which component decides for which resource: one snapshot, that is exchanged as
//! a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_api::PluginSource;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_render::policy::Policy;
use dask_operator_runtime::Component;

use super::entry::{Entry, Labels, PluginId, Subject};
use super::held;
use super::{Plugin, PluginError};

/// A place whose plugins nobody knows yet: a policy may be among them, and so nothing is decided there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The namespace; none for all.
    pub namespace: Option<String>,
    /// Why they aren't known, and what to do about it.
    pub why: String,
}

/// All components and what they are for.
#[derive(Clone, Default)]
pub struct Catalog {
    /// The logic of each kind where no plugin says otherwise.
    defaults: BTreeMap<DaskKind, Result<Arc<Plugin>, PluginError>>,
    /// Policies from the command line: for all resources, and asked last.
    policies: Vec<Arc<Policy>>,
    /// The components of the default logic.
    components: Vec<Component>,
    entries: Vec<Entry>,
    /// Labels of namespaces, as far as they are known.
    namespaces: BTreeMap<String, Labels>,
    /// Where nothing is decided yet.
    unknown: Vec<Unknown>,
}

impl Catalog {
    /// These decide for all resources.
    #[must_use]
    pub fn new(
        defaults: BTreeMap<DaskKind, Result<Arc<Plugin>, PluginError>>,
        policies: Vec<Arc<Policy>>,
    ) -> Self {
        Self {
            defaults,
            policies,
            ..Self::default()
        }
    }

    /// The same, whose default logic is of these components.
    #[must_use]
    pub fn made_of(self, components: Vec<Component>) -> Self {
        Self { components, ..self }
    }

    /// The same with other plugins, for namespaces with these labels.
    #[must_use]
    pub fn with(&self, mut entries: Vec<Entry>, namespaces: BTreeMap<String, Labels>) -> Self {
        entries.sort_by(|one, two| {
            let place = |entry: &Entry| (entry.id.namespace.is_none(), entry.order, entry.id.name.clone());
            place(one).cmp(&place(two))
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

    /// The same, but nothing is decided in these places: who asks gets an error.
    #[must_use]
    pub fn without(&self, unknown: Vec<Unknown>) -> Self {
        Self {
            unknown,
            ..self.clone()
        }
    }

    /// Whether the plugins that concern a resource are known.
    fn are_known(&self, subject: &Subject<'_>) -> Result<(), PluginError> {
        let concerns = |unknown: &&Unknown| {
            let namespace = unknown.namespace.as_deref();
            namespace.is_none_or(|namespace| namespace == subject.namespace)
        };
        match self.unknown.iter().find(concerns) {
            None => Ok(()),
            Some(unknown) => Err(PluginError {
                title: "plugins".to_owned(),
                reason: "PluginsUnknown",
                message: unknown.why.clone(),
            }),
        }
    }

    /// The component that decides what a resource consists of: the first of its namespace, or else of the cluster, or else
    /// the default one.
    ///
    /// # Errors
    ///
    /// When it can't be used, or nobody knows yet which one it is.
    pub fn logic(&self, subject: &Subject<'_>) -> Result<Arc<Plugin>, PluginError> {
        self.are_known(subject)?;
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

    /// The policies that are asked about a resource, in that order: those of its namespace, then those of the cluster, each
    /// by order and name, then those of the command line.
    ///
    /// # Errors
    ///
    /// When one that was in force can't be used now, or nobody knows yet which ones there are.
    pub fn policies(&self, subject: &Subject<'_>) -> Result<Vec<Arc<Policy>>, PluginError> {
        self.policies_or(subject, Err)
    }

    /// Who is asked about a request: logic and policies. One that was in force and can't be used now is there all the same and
    /// fails, so that what the others forbid is forbidden: a namespace's own must not keep those of the cluster from being asked.
    ///
    /// # Errors
    ///
    /// When nobody knows yet which ones there are.
    pub fn at_admission(
        &self,
        subject: &Subject<'_>,
    ) -> Result<(Arc<Plugin>, Vec<Arc<Policy>>), PluginError> {
        let logic = match self.logic(subject) {
            Err(error) if !error.is_unknown() => held::logic(error),
            logic => logic?,
        };
        let policies = self.policies_or(subject, |error| Ok(held::policy(error)))?;
        Ok((logic, policies))
    }

    /// The policies about a resource, with what `held` makes of those that can't be used now.
    fn policies_or(
        &self,
        subject: &Subject<'_>,
        held: impl Fn(PluginError) -> Result<Arc<Policy>, PluginError>,
    ) -> Result<Vec<Arc<Policy>>, PluginError> {
        self.are_known(subject)?;
        let namespace = self.namespaces.get(subject.namespace);
        let mut policies = Vec::new();
        for entry in &self.entries {
            let Some(policy) = &entry.policy else {
                continue;
            };
            match entry.concerns(subject, namespace) {
                Ok(true) => policies.push(policy.clone().or_else(&held)?),
                Ok(false) => {}
                Err(_) if entry.only_monitors() => {}
                Err(error) => return Err(error),
            }
        }
        policies.extend(self.policies.iter().cloned());
        Ok(policies)
    }

    /// Whether a policy is the cluster's, and no namespace has brought it along.
    #[must_use]
    pub fn is_of_cluster(&self, policy: &Arc<Policy>) -> bool {
        let of_cluster = self.entries.iter().filter(|entry| entry.id.namespace.is_none());
        let in_force = of_cluster.filter_map(|entry| entry.policy.as_ref()?.as_ref().ok());
        self.policies
            .iter()
            .chain(in_force)
            .any(|known| Arc::ptr_eq(known, policy))
    }

    /// The component that a plugin with this source and digest would be, where it is certain that it is one that is
    /// loaded already: by its digest, or because the plugin in force comes from there and is not looked up again.
    #[must_use]
    pub fn loaded(&self, id: &PluginId, source: &PluginSource, digest: Option<&str>) -> Option<&Component> {
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

    /// What the policy with this title is called in metrics: after the resource of the cluster that brings it, or by its title
    /// where the command line names it. Those of namespaces, of which there may be any number, have one name together.
    #[must_use]
    pub fn label(&self, title: &str) -> String {
        let is_it = |entry: &&Entry| matches!(&entry.policy, Some(Ok(policy)) if policy.title == title);
        match self.entries.iter().find(is_it).map(|entry| &entry.id) {
            Some(id) if id.namespace.is_none() => id.to_string(),
            Some(_) => "DaskPlugin".to_owned(),
            None if self.policies.iter().any(|policy| policy.title == title) => title.to_owned(),
            None => "gone".to_owned(),
        }
    }

    /// Whether a namespace has brought anything along.
    #[must_use]
    pub fn has_plugins_of(&self, namespace: &str) -> bool {
        let is_there = |entry: &Entry| entry.id.namespace.as_deref() == Some(namespace);
        self.entries.iter().any(is_there)
    }

    /// The default logic that could not be loaded.
    pub fn broken(&self) -> impl Iterator<Item = &PluginError> {
        self.defaults.values().filter_map(|plugin| plugin.as_ref().err())
    }

    /// The kinds of children of the default logic.
    pub fn child_kinds(&self) -> impl Iterator<Item = &ResourceKind> {
        self.defaults
            .values()
            .flatten()
            .flat_map(|plugin| &plugin.child_kinds)
    }
}

#[cfg(test)]
mod tests;
