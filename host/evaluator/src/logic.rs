//! Logic plugins, which plan the children of the Dask resources.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan;
use dask_operator_runtime::contract::{Answer, Finding, Observation, Plan, ResourceKind};
use dask_operator_runtime::{Component, Interface};

use crate::convert;

/// Error of a call that returned no result, such as a trap or an exceeded limit.
pub type PluginFailure = Box<dyn Error + Send + Sync>;

/// One of the contract's four logic interfaces. Objects and settings are JSON strings, as in `wit/`.
pub trait LogicInterface: Send + Sync {
    /// Returns the kinds of children that the plugin plans.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, PluginFailure>;

    /// Returns the object with default values for the fields that its author left out.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, PluginFailure>;

    /// Returns findings about a defaulted object. `old` is the object before an update.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    fn validate(
        &self,
        object: &str,
        old: Option<&str>,
        settings: &str,
    ) -> Result<Vec<Finding>, PluginFailure>;

    /// Returns the desired children and status.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, PluginFailure>;
}

/// A component together with the interface through which it is called.
#[derive(Clone, Debug)]
pub struct ComponentLogic {
    /// The component.
    pub component: Component,
    /// The interface through which it is called.
    pub interface: Interface,
}

impl LogicInterface for ComponentLogic {
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, PluginFailure> {
        Ok(self.component.child_kinds(self.interface, settings)?)
    }

    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, PluginFailure> {
        Ok(self.component.default(self.interface, object, settings)?)
    }

    fn validate(
        &self,
        object: &str,
        old: Option<&str>,
        settings: &str,
    ) -> Result<Vec<Finding>, PluginFailure> {
        Ok(self.component.validate(self.interface, object, old, settings)?)
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, PluginFailure> {
        Ok(self.component.plan(self.interface, observation)?)
    }
}

/// Owner of a plugin, on which its rights and its share of time depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginOwner {
    /// The operator itself, or an administrator.
    Administrator,
    /// The users of a namespace.
    Tenant,
}

/// A logic plugin with its settings.
#[derive(Clone)]
pub struct LogicPlugin {
    /// Name of the plugin in messages. It may include version and digest.
    pub title: String,
    /// The settings that the plugin receives, a JSON object.
    pub settings: String,
    /// The kinds of children that the plugin declares.
    pub child_kinds: Vec<plan::ResourceKind>,
    /// The owner of the plugin.
    pub owner: PluginOwner,
    /// The implementation, which is usually a component.
    pub logic: Arc<dyn LogicInterface>,
}

impl LogicPlugin {
    /// Creates the plugin of an administrator, and calls `logic` for the kinds of its children.
    ///
    /// # Errors
    ///
    /// Returns an error if that call fails.
    pub fn new(
        title: String,
        settings: String,
        logic: Arc<dyn LogicInterface>,
    ) -> Result<Self, PluginFailure> {
        let child_kinds = logic.child_kinds(&settings)?;
        Ok(Self {
            title,
            settings,
            child_kinds: child_kinds.into_iter().map(convert::kind).collect(),
            owner: PluginOwner::Administrator,
            logic,
        })
    }

    /// Creates the plugin of an administrator from a component.
    ///
    /// # Errors
    ///
    /// Returns an error if the call of the component fails.
    pub fn of_component(logic: ComponentLogic, settings: String) -> Result<Self, PluginFailure> {
        Self::new(title(&logic.component), settings, Arc::new(logic))
    }
}

impl fmt::Debug for LogicPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogicPlugin")
            .field("title", &self.title)
            .field("settings", &self.settings)
            .field("child_kinds", &self.child_kinds)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// Returns the interface that manages a kind of resource.
#[must_use]
pub fn interface(kind: DaskKind) -> Interface {
    match kind {
        DaskKind::Cluster => Interface::Cluster,
        DaskKind::WorkerGroup => Interface::WorkerGroup,
        DaskKind::Job => Interface::Job,
        DaskKind::Autoscaler => Interface::Autoscaler,
    }
}

/// Returns the name of a component for messages, such as `cluster 0.1.0 (0123456789ab)`.
#[must_use]
pub fn title(component: &Component) -> String {
    format!(
        "{} {} ({})",
        component.name(),
        component.description().version,
        component.digest().short()
    )
}
