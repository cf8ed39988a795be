//! The default logic that the tests run: WebAssembly components, or the same code natively.

use std::collections::BTreeMap;

use dask_operator_autoscaler::DefaultAutoscaler;
use dask_operator_cluster::DefaultCluster;
use dask_operator_components::{AUTOSCALER, CLUSTER, JOB, WORKER_GROUP};
use dask_operator_core::parent::DaskKind;
use dask_operator_job::DefaultJob;
use dask_operator_plugin::{Autoscaler, Cluster, Job, WorkerGroup};
use dask_operator_render::logic::{ComponentLogic, Failure, Logic, interface};
use dask_operator_render::render::Deciders;
use dask_operator_runtime::{Component, Engine, EngineConfig, Limits};
use dask_operator_worker_group::DefaultWorkerGroup;
use serde_json::Value;

use crate::native::Native;

/// The logic of the four kinds.
pub struct Logics {
    cluster: Box<dyn Logic>,
    worker_group: Box<dyn Logic>,
    job: Box<dyn Logic>,
    autoscaler: Box<dyn Logic>,
}

impl Logics {
    /// Returns the logic as native code.
    #[must_use]
    pub fn native() -> Self {
        Self {
            cluster: Box::new(Native::<Cluster, DefaultCluster>::new()),
            worker_group: Box::new(Native::<WorkerGroup, DefaultWorkerGroup>::new()),
            job: Box::new(Native::<Job, DefaultJob>::new()),
            autoscaler: Box::new(Native::<Autoscaler, DefaultAutoscaler>::new()),
        }
    }

    /// Loads the logic as the default components of the operator.
    ///
    /// # Errors
    ///
    /// Returns an error if a component cannot be loaded.
    pub fn components() -> Result<Self, Failure> {
        let engine = Engine::new(EngineConfig::default())?;
        let load = |kind: DaskKind, bytes: &[u8]| -> Result<Box<dyn Logic>, Failure> {
            let component = Component::load(&engine, "the default component", bytes, Limits::default())?;
            Ok(Box::new(ComponentLogic {
                component,
                interface: interface(kind),
            }))
        };
        Ok(Self {
            cluster: load(DaskKind::Cluster, CLUSTER.bytes)?,
            worker_group: load(DaskKind::WorkerGroup, WORKER_GROUP.bytes)?,
            job: load(DaskKind::Job, JOB.bytes)?,
            autoscaler: load(DaskKind::Autoscaler, AUTOSCALER.bytes)?,
        })
    }

    /// Returns the logic of a kind.
    #[must_use]
    pub fn of(&self, kind: DaskKind) -> &dyn Logic {
        match kind {
            DaskKind::Cluster => &*self.cluster,
            DaskKind::WorkerGroup => &*self.worker_group,
            DaskKind::Job => &*self.job,
            DaskKind::Autoscaler => &*self.autoscaler,
        }
    }
}

/// Logic with settings, which are stored by the name of the interface.
pub struct WithSettings<'a> {
    logics: &'a Logics,
    settings: BTreeMap<String, String>,
}

impl<'a> WithSettings<'a> {
    /// Combines logic with settings from a settings file, which has an object for each interface with settings.
    #[must_use]
    pub fn new(logics: &'a Logics, settings: &BTreeMap<String, Value>) -> Self {
        let settings = settings
            .iter()
            .map(|(name, settings)| (name.clone(), settings.to_string()));
        Self {
            logics,
            settings: settings.collect(),
        }
    }
}

impl Deciders for WithSettings<'_> {
    fn logic(&self, kind: DaskKind) -> &dyn Logic {
        self.logics.of(kind)
    }

    fn settings(&self, kind: DaskKind) -> &str {
        self.settings
            .get(interface(kind).name())
            .map_or("{}", String::as_str)
    }
}
