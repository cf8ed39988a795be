//! Logic plugins, which plan the children of the Dask resources.

use std::error::Error;

use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::{Answer, Finding, Observation, Plan, ResourceKind};
use dask_operator_runtime::{Component, Interface};

/// Error of a call that returned no result, such as a trap or an exceeded limit.
pub type Failure = Box<dyn Error + Send + Sync>;

/// One of the contract's four logic interfaces. Objects and settings are JSON strings, as in `wit/`.
pub trait Logic: Send + Sync {
    /// Returns the kinds of children that the plugin plans.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, Failure>;

    /// Returns the object with default values for the fields that its author left out.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, Failure>;

    /// Returns findings about a defaulted object. `old` is the object before an update.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    fn validate(&self, object: &str, old: Option<&str>, settings: &str) -> Result<Vec<Finding>, Failure>;

    /// Returns the desired children and status.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails.
    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, Failure>;
}

/// A component together with the interface through which it is called.
#[derive(Clone, Debug)]
pub struct ComponentLogic {
    /// The component.
    pub component: Component,
    /// The interface through which it is called.
    pub interface: Interface,
}

impl Logic for ComponentLogic {
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, Failure> {
        Ok(self.component.child_kinds(self.interface, settings)?)
    }

    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, Failure> {
        Ok(self.component.default(self.interface, object, settings)?)
    }

    fn validate(&self, object: &str, old: Option<&str>, settings: &str) -> Result<Vec<Finding>, Failure> {
        Ok(self.component.validate(self.interface, object, old, settings)?)
    }

    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, Failure> {
        Ok(self.component.plan(self.interface, observation)?)
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
