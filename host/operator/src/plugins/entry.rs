//! An active plugin, and the resources in its scope.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_api::PluginSource;
use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::logic::LogicPlugin;
use dask_operator_evaluator::policy::{Mode, PolicyPlugin};
use dask_operator_runtime::Component;
use kube::core::{Selector, SelectorExt};

use crate::key::PluginId;
use crate::plugins::error::{PluginError, PluginErrorReason};
use crate::selection::Labels;

/// Label that holds the name of a namespace. Every namespace has it.
pub(super) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Resource that a decision is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// Kind of the resource.
    pub(crate) kind: DaskKind,
    /// Namespace of the resource.
    pub(crate) namespace: &'a str,
    /// Labels of the resource.
    pub(crate) labels: &'a Labels,
}

/// Resources that a plugin applies to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scope {
    /// Only resources in this namespace; all namespaces if `None`.
    pub(crate) namespace: Option<String>,
    /// Only resources in namespaces with matching labels.
    pub(crate) namespaces: Selector,
    /// True if `namespaces` selects by labels other than the name of the namespace.
    pub(crate) by_labels: bool,
    /// Only resources with matching labels.
    pub(crate) labels: Selector,
}

/// Loaded component of a plugin resource.
#[derive(Clone)]
pub(crate) struct LoadedComponent {
    /// The component.
    pub(crate) component: Component,
    /// Source of the component, as the plugin resource names it.
    pub(crate) source: PluginSource,
}

/// Catalog entry of a plugin that is active, or that blocks its scope.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Identity of the plugin resource.
    pub(crate) id: PluginId,
    /// Resources that the plugin applies to.
    pub(crate) scope: Scope,
    /// Priority: entries with smaller numbers come first.
    pub(crate) order: i32,
    /// Logic of the plugin by the kind that it manages. Logic that was active and can't be used now is an error: resources of
    /// that kind are blocked.
    pub(crate) logic: BTreeMap<DaskKind, Result<Arc<LogicPlugin>, PluginError>>,
    /// Policy of the plugin. A policy that was active and can't be used now is an error: resources in its scope are blocked.
    pub(crate) policy: Option<Result<Arc<PolicyPlugin>, PluginError>>,
    /// Component of the plugin; `None` if it can't be used now.
    pub(crate) loaded: Option<LoadedComponent>,
}

impl Entry {
    /// Returns whether the plugin can't be used now and blocks its scope.
    pub(super) fn blocks(&self) -> bool {
        self.loaded.is_none() && (self.policy.is_some() || !self.logic.is_empty())
    }

    /// Returns whether the plugin applies to a resource in a namespace with these labels. `None` if the labels are not known.
    ///
    /// # Errors
    ///
    /// Returns an error if that depends on labels of the namespace that are not known.
    pub(super) fn concerns(
        &self,
        subject: &Subject<'_>,
        labels: Option<&Labels>,
    ) -> Result<bool, PluginError> {
        // This check comes first, so that the size of a tenant's selector does not slow down other namespaces.
        let is_elsewhere = |namespace: &String| namespace != subject.namespace;
        if self.scope.namespace.as_ref().is_some_and(is_elsewhere)
            || !self.scope.labels.matches(subject.labels)
        {
            return Ok(false);
        }
        match (&self.scope.namespace, labels) {
            (Some(_), _) => Ok(true),
            (None, Some(labels)) => Ok(self.scope.namespaces.matches(labels)),
            // The namespace was created a moment ago. Skipping this plugin could allow what it forbids.
            (None, None) if self.scope.by_labels => Err(PluginError {
                title: self.id.to_string(),
                reason: PluginErrorReason::NamespaceUnknown,
                message: format!(
                    "it is for namespaces with certain labels, and those of {} are not known yet; try again in a few \
                     seconds",
                    subject.namespace
                ),
            }),
            // Every namespace has its name as a label, so that it can be selected by name while its other labels are not known.
            (None, None) => {
                let named = Labels::from([(NAMESPACE_NAME.to_owned(), subject.namespace.to_owned())]);
                Ok(self.scope.namespaces.matches(&named))
            }
        }
    }

    /// Returns whether the policy forbids nothing and only reports what it would forbid.
    pub(super) fn only_monitors(&self) -> bool {
        let monitors = |policy: &Result<Arc<PolicyPlugin>, PluginError>| {
            policy.as_ref().is_ok_and(|policy| policy.mode == Mode::Monitor)
        };
        self.policy.as_ref().is_some_and(monitors)
    }
}
