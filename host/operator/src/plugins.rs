//! The component that decides for each kind of Dask resource.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_render::convert;
use dask_operator_render::logic::{Failure, Logic};
use dask_operator_runtime::CallError;
use dask_operator_runtime::contract::{Answer, Observation, Plan};
use thiserror::Error;
use tokio::sync::Semaphore;

/// A component in the role that it has for one kind.
pub struct Plugin {
    /// What it is called in conditions and logs: its name and digest.
    pub title: String,
    /// The settings that it gets, a JSON object.
    pub settings: String,
    /// The kinds of children that it declares.
    pub child_kinds: Vec<ResourceKind>,
    logic: Box<dyn Logic>,
}

/// Why there is no answer from a component.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{title}: {message}")]
pub struct PluginError {
    /// The component, as [`Plugin::title`].
    pub title: String,
    /// What happened, in one word in CamelCase.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
}

impl PluginError {
    /// The component `title` can't be used.
    #[must_use]
    pub fn unusable(title: &str, message: String) -> Self {
        Self {
            title: title.to_owned(),
            reason: "PluginUnusable",
            message,
        }
    }

    /// A call of the component `title` gave no answer.
    fn no_answer(title: &str, error: &Failure) -> Self {
        let (reason, message) = match error.downcast_ref::<CallError>() {
            Some(error) => (error.failure.reason(), error.failure.to_string()),
            None => ("PluginFailed", error.to_string()),
        };
        Self {
            title: title.to_owned(),
            reason,
            message,
        }
    }
}

impl Plugin {
    /// Asks `logic` which children it has.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub fn new(title: String, settings: String, logic: Box<dyn Logic>) -> Result<Self, PluginError> {
        let kinds = logic
            .child_kinds(&settings)
            .map_err(|error| PluginError::no_answer(&title, &error))?;
        let child_kinds = kinds.into_iter().map(convert::kind).collect();
        Ok(Self {
            title,
            settings,
            child_kinds,
            logic,
        })
    }
}

/// The plugins of all kinds. One that could not be loaded is data: what it looks
/// after says so, and the others work.
pub struct Plugins {
    by_kind: BTreeMap<DaskKind, Result<Arc<Plugin>, PluginError>>,
    /// Calls that may run at once.
    permits: Semaphore,
}

impl Plugins {
    /// Plugins, of which `at_once` run at a time.
    #[must_use]
    pub fn new(by_kind: BTreeMap<DaskKind, Result<Plugin, PluginError>>, at_once: usize) -> Self {
        let by_kind = by_kind
            .into_iter()
            .map(|(kind, plugin)| (kind, plugin.map(Arc::new)))
            .collect();
        Self {
            by_kind,
            permits: Semaphore::new(at_once),
        }
    }

    /// The plugin of a kind.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn get(&self, kind: DaskKind) -> Result<Arc<Plugin>, PluginError> {
        let missing = || PluginError::unusable(kind.kind(), "no component is loaded".to_owned());
        self.by_kind.get(&kind).cloned().unwrap_or_else(|| Err(missing()))
    }

    /// All that could not be loaded.
    pub fn broken(&self) -> impl Iterator<Item = &PluginError> {
        self.by_kind.values().filter_map(|plugin| plugin.as_ref().err())
    }

    /// The kinds of children of all plugins.
    pub fn child_kinds(&self) -> impl Iterator<Item = &ResourceKind> {
        self.by_kind
            .values()
            .flatten()
            .flat_map(|plugin| &plugin.child_kinds)
    }

    /// Asks `plugin` for a plan, on a thread that may block.
    ///
    /// # Errors
    ///
    /// When it did not answer.
    pub async fn plan(
        &self,
        plugin: &Arc<Plugin>,
        observation: Observation,
    ) -> Result<Answer<Plan>, PluginError> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let asked = plugin.clone();
        let answer = tokio::task::spawn_blocking(move || asked.logic.plan(&observation)).await;
        match answer {
            Ok(answer) => answer.map_err(|error| PluginError::no_answer(&plugin.title, &error)),
            Err(error) => Err(PluginError::no_answer(&plugin.title, &error.into())),
        }
    }
}
