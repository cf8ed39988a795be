//! The default logic that the tests run: WebAssembly components, or the same code natively.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_autoscaler::DefaultAutoscaler;
use dask_operator_cluster::DefaultCluster;
use dask_operator_components::{AUTOSCALER, CLUSTER, JOB, WORKER_GROUP};
use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::logic::{ComponentLogic, LogicInterface, LogicPlugin, PluginFailure, interface};
use dask_operator_evaluator::{AllowedKinds, ByKind, PluginSet};
use dask_operator_job::DefaultJob;
use dask_operator_plugin::{Autoscaler, Cluster, Job, WorkerGroup};
use dask_operator_runtime::{CallLimits, Component, Engine, EngineConfig};
use dask_operator_worker_group::DefaultWorkerGroup;
use serde_json::Value;

use crate::native::Native;

/// The logic of the four kinds.
pub type Logics = ByKind<Arc<dyn LogicInterface>>;

/// Returns the logic as native code.
#[must_use]
pub fn native() -> Logics {
    ByKind::new(|kind| -> Arc<dyn LogicInterface> {
        match kind {
            DaskKind::Cluster => Arc::new(Native::<Cluster, DefaultCluster>::new()),
            DaskKind::WorkerGroup => Arc::new(Native::<WorkerGroup, DefaultWorkerGroup>::new()),
            DaskKind::Job => Arc::new(Native::<Job, DefaultJob>::new()),
            DaskKind::Autoscaler => Arc::new(Native::<Autoscaler, DefaultAutoscaler>::new()),
        }
    })
}

/// Loads the logic as the default components of the operator.
///
/// # Errors
///
/// Returns an error if a component cannot be loaded.
pub fn components() -> Result<Logics, PluginFailure> {
    let engine = Engine::new(EngineConfig::default())?;
    ByKind::try_new(|kind| {
        let embedded = match kind {
            DaskKind::Cluster => &CLUSTER,
            DaskKind::WorkerGroup => &WORKER_GROUP,
            DaskKind::Job => &JOB,
            DaskKind::Autoscaler => &AUTOSCALER,
        };
        let source = "the default component";
        let component = Component::load(&engine, source, embedded.bytes, CallLimits::default())?;
        Ok(Arc::new(ComponentLogic {
            component,
            interface: interface(kind),
        }) as Arc<dyn LogicInterface>)
    })
}

/// Returns the logic as plugins. `settings` has an object for each interface with settings, by its name, as a settings file.
///
/// # Errors
///
/// Returns an error if the call for the kinds of the children fails.
pub fn plugins(logics: &Logics, settings: &BTreeMap<String, Value>) -> Result<PluginSet, PluginFailure> {
    let logic = ByKind::try_new(|kind| {
        let name = interface(kind).name();
        let settings = settings.get(name).map_or("{}".to_owned(), Value::to_string);
        LogicPlugin::new(name.to_owned(), settings, logics.of(kind).clone()).map(Arc::new)
    })?;
    Ok(PluginSet {
        logic,
        policies: Vec::new(),
        allowed_kinds: AllowedKinds::default(),
    })
}
