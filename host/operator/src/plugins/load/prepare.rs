//! Preparation of a plugin from its bytes: check what it may implement, compile it, check its settings, try it on samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_api::PluginMode;
use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::AllowedKinds;
use dask_operator_evaluator::findings::to_text;
use dask_operator_evaluator::logic::{
    ComponentLogic, LogicInterface, LogicPlugin, PluginOwner, interface, title,
};
use dask_operator_evaluator::policy::{Mode, PolicyInterface, PolicyPlugin};
use dask_operator_runtime::{CompilePermit, Compiling, Component, Engine, Interface, compile_permit};
use tokio::sync::mpsc::UnboundedSender;

use crate::client::resource::ResourceTypes;
use crate::plugins::breaker::{BreakerReport, PluginBreaker, RollbackRule};
use crate::plugins::entry::{Entry, LoadedComponent};
use crate::plugins::error::{LoadFailure, LoadReason, PluginError};
use crate::plugins::limits::limits;
use crate::plugins::load::smoke_test;
use crate::plugins::loaded::LoadedPlugin;
use crate::plugins::monitored::Monitored;
use crate::plugins::resource::Resource;
use crate::plugins::rights::{self, TenantRights};
use crate::plugins::time_budget::TenantComponent;
use crate::plugins::user_info::NamesOnly;

/// Dependencies for preparing a plugin.
#[derive(Clone)]
pub(super) struct Loader {
    pub(super) engine: Engine,
    /// Kinds that are watched.
    pub(super) watched: ResourceTypes,
    /// Kinds of children that the administrator allows in addition to the default ones.
    pub(super) allowed_kinds: AllowedKinds,
    /// Rights of plugins of namespaces.
    pub(super) rights: TenantRights,
    /// Receives reports about plugins that fail repeatedly.
    pub(super) reports: UnboundedSender<BreakerReport>,
}

impl Loader {
    /// Waits for the permit to compile the bytes. Returns `None` if they need none. Blocks the thread.
    pub(super) fn compile_permit(&self, resource: &Resource, bytes: &[u8]) -> Option<CompilePermit> {
        compile_permit(&self.engine, bytes, &compiling(resource))
    }

    /// Checks that the bytes are what `resource` requests and may have, compiles them, and tries them on samples. Blocks the
    /// thread.
    pub(super) fn prepare(
        &self,
        resource: &Resource,
        bytes: &[u8],
        image_digest: Option<String>,
        permit: Option<CompilePermit>,
    ) -> Result<LoadedPlugin, LoadFailure> {
        let limits = limits(resource.spec.limits.as_ref(), &self.rights.max_limits(resource))?;
        let origin = resource.id.to_string();
        let has = Component::interfaces_of(&origin, bytes)?;
        let interfaces = resource.requested_interfaces("the component", &has)?;
        self.rights.check(resource, &interfaces)?;
        let compiling = compiling(resource);
        let component =
            Component::load_with_permit(&self.engine, &origin, bytes, limits, &compiling, permit)?;
        let settings = resource.settings();
        let findings = component
            .validate_settings(&settings)
            .map_err(|error| LoadFailure::new(error.failure.reason(), error.to_string()))?;
        if !findings.is_empty() {
            return Err(LoadFailure::new(
                LoadReason::SettingsRefused,
                format!(
                    "spec.settings: {} refuses them: {}",
                    title(&component),
                    to_text(&findings)
                ),
            ));
        }
        let digest = component.digest().to_string();
        let rule = RollbackRule::of(resource, interfaces.contains(&Interface::Policy));
        let breaker = PluginBreaker::new(resource.id.clone(), digest.clone(), rule, self.reports.clone());
        let title = format!("{} of {}", title(&component), resource.id);
        let mut entry = Entry {
            id: resource.id.clone(),
            scope: resource.scope.clone(),
            order: resource.spec.order,
            logic: BTreeMap::new(),
            policy: None,
            loaded: Some(LoadedComponent {
                component: component.clone(),
                source: resource.spec.source.clone(),
            }),
        };
        for kind in DaskKind::ALL {
            let interface = interface(kind);
            if interfaces.contains(&interface) {
                let plugin = self.logic(resource, &component, interface, kind, &title, &breaker)?;
                entry.logic.insert(kind, Ok(plugin));
            }
        }
        if interfaces.contains(&Interface::Policy) {
            let inner = Monitored {
                inner: component.clone(),
                breaker: breaker.clone(),
            };
            let policy = Arc::new(PolicyPlugin {
                title: title.clone(),
                settings: settings.clone(),
                mode: match resource.spec.mode {
                    PluginMode::Protect => Mode::Protect,
                    PluginMode::Monitor => Mode::Monitor,
                },
                rules: rules(resource, inner),
            });
            smoke_test::try_policy(&policy)?;
            entry.policy = Some(Ok(policy));
        }
        breaker.begin();
        Ok(LoadedPlugin {
            entry,
            name: component.name().to_owned(),
            version: component.description().version.clone(),
            digest,
            image_digest,
            interfaces: interfaces.into_iter().map(Interface::name).collect(),
            requested_by: resource.clone(),
        })
    }

    fn logic(
        &self,
        resource: &Resource,
        component: &Component,
        interface: Interface,
        kind: DaskKind,
        title: &str,
        breaker: &Arc<PluginBreaker>,
    ) -> Result<Arc<LogicPlugin>, LoadFailure> {
        let inner = ComponentLogic {
            component: component.clone(),
            interface,
        };
        let monitored = Monitored {
            inner,
            breaker: breaker.clone(),
        };
        let logic: Arc<dyn LogicInterface> = match resource.id.namespace {
            Some(_) => Arc::new(TenantComponent { inner: monitored }),
            None => Arc::new(monitored),
        };
        let mut plugin =
            LogicPlugin::new(title.to_owned(), resource.settings(), logic).map_err(|failure| {
                let message = PluginError::no_answer(title, &failure).to_string();
                LoadFailure::new(LoadReason::of_call(&failure), message)
            })?;
        if resource.id.namespace.is_some() {
            plugin.owner = PluginOwner::Tenant;
        }
        rights::check_kinds(&plugin, kind, &self.allowed_kinds, &self.watched)?;
        let plugin = Arc::new(plugin);
        smoke_test::try_logic(&plugin, kind, &self.allowed_kinds)?;
        Ok(plugin)
    }
}

/// Returns the options with which the resource's component is compiled.
fn compiling(resource: &Resource) -> Compiling {
    match &resource.id.namespace {
        Some(namespace) => Compiling::of_tenant(namespace),
        None => Compiling::default(),
    }
}

/// Wraps a policy for its resource. A policy of a tenant has less time and receives less about the user.
fn rules(resource: &Resource, inner: impl PolicyInterface + 'static) -> Box<dyn PolicyInterface> {
    match resource.id.namespace {
        Some(_) => Box::new(TenantComponent {
            inner: NamesOnly { inner },
        }),
        None => Box::new(inner),
    }
}

#[cfg(test)]
mod tests;
