//! Who decides what a Dask resource consists of.

use std::error::Error;

use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::{Answer, Finding, Observation, Plan, ResourceKind};
use dask_operator_runtime::{Component, Interface};

/// Why logic gave no answer at all.
pub type Failure = Box<dyn Error + Send + Sync>;

/// One of the contract's four logic interfaces. Objects and settings are JSON
/// texts, as in `wit/`.
pub trait Logic: Send + Sync {
    /// The kinds of children that it plans.
    ///
    /// # Errors
    ///
    /// When it did not answer.
    fn child_kinds(&self, settings: &str) -> Result<Vec<ResourceKind>, Failure>;

    /// The object with everything filled in that its author left out.
    ///
    /// # Errors
    ///
    /// When it did not answer.
    fn default(&self, object: &str, settings: &str) -> Result<Answer<String>, Failure>;

    /// What is wrong with a defaulted object.
    ///
    /// # Errors
    ///
    /// When it did not answer.
    fn validate(&self, object: &str, old: Option<&str>, settings: &str) -> Result<Vec<Finding>, Failure>;

    /// What shall be.
    ///
    /// # Errors
    ///
    /// When it did not answer.
    fn plan(&self, observation: &Observation) -> Result<Answer<Plan>, Failure>;
}

/// A component in one of its roles.
#[derive(Clone, Debug)]
pub struct ComponentLogic {
    /// The component.
    pub component: Component,
    /// The interface through which it is asked.
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

/// The interface that looks after a kind of resource.
#[must_use]
pub fn interface(kind: DaskKind) -> Interface {
    match kind {
        DaskKind::Cluster => Interface::Cluster,
        DaskKind::WorkerGroup => Interface::WorkerGroup,
        DaskKind::Job => Interface::Job,
        DaskKind::Autoscaler => Interface::Autoscaler,
    }
}
