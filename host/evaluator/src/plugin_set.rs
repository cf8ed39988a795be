//! The plugins of all kinds, for callers that use the same ones for all resources.

use std::sync::Arc;

use dask_operator_core::parent::DaskKind;

use crate::logic::LogicPlugin;
use crate::policy::PolicyPlugin;
use crate::{AllowedKinds, Evaluator};

/// One value for each kind of Dask resource.
#[derive(Clone, Debug)]
pub struct ByKind<T> {
    cluster: T,
    worker_group: T,
    job: T,
    autoscaler: T,
}

impl<T> ByKind<T> {
    /// Creates the values with a function.
    pub fn new(mut value: impl FnMut(DaskKind) -> T) -> Self {
        Self {
            cluster: value(DaskKind::Cluster),
            worker_group: value(DaskKind::WorkerGroup),
            job: value(DaskKind::Job),
            autoscaler: value(DaskKind::Autoscaler),
        }
    }

    /// Creates the values with a function that can fail.
    ///
    /// # Errors
    ///
    /// Returns the first error of the function.
    pub fn try_new<E>(mut value: impl FnMut(DaskKind) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            cluster: value(DaskKind::Cluster)?,
            worker_group: value(DaskKind::WorkerGroup)?,
            job: value(DaskKind::Job)?,
            autoscaler: value(DaskKind::Autoscaler)?,
        })
    }

    /// Returns the value of a kind.
    #[must_use]
    pub fn of(&self, kind: DaskKind) -> &T {
        match kind {
            DaskKind::Cluster => &self.cluster,
            DaskKind::WorkerGroup => &self.worker_group,
            DaskKind::Job => &self.job,
            DaskKind::Autoscaler => &self.autoscaler,
        }
    }
}

/// The logic plugin of each kind, and the policies of all resources.
#[derive(Clone, Debug)]
pub struct PluginSet {
    /// The logic plugins.
    pub logic: ByKind<Arc<LogicPlugin>>,
    /// The policies, in the order in which they are called.
    pub policies: Vec<Arc<PolicyPlugin>>,
    /// Kinds of children that the administrator allows in addition to the default ones.
    pub allowed_kinds: AllowedKinds,
}

impl PluginSet {
    /// Returns the evaluator of resources of a kind, which reports mistakes and does not refuse them.
    #[must_use]
    pub fn evaluator(&self, kind: DaskKind) -> Evaluator {
        Evaluator {
            logic: self.logic.of(kind).clone(),
            policies: self.policies.clone(),
            allowed_kinds: self.allowed_kinds.clone(),
            strict: false,
        }
    }
}
