//! Loading of the components that the command line configures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use dask_operator_components::engine::{CachedEngine, cached_engine};
use dask_operator_components::load::{self as components, LoadedPlugins, PluginArgs};
use dask_operator_evaluator::AllowedKinds;
use dask_operator_runtime::{
    CallLimits, CallObserver, CallReport, CompilerProgram, ContainerMemory, Engine, EngineConfig, EngineError,
};
use tracing::{debug, error, info, warn};

use crate::key::PluginId;
use crate::metrics::SUCCESS;
use crate::plugins::Plugins;
use crate::plugins::catalog::Catalog;
use crate::plugins::error::PluginError;
use crate::plugins::load::cache::ComponentCache;
use crate::plugins::metrics::{PluginCall, PluginMetrics};

/// Counts calls of components.
struct Counted(PluginMetrics);

impl CallObserver for Counted {
    fn called(&self, report: &CallReport<'_>) {
        // This call only returns the component's name, and loads are counted elsewhere.
        if report.interface == "describe" && report.function == "describe" {
            return;
        }
        // A component that a plugin resource loads may have any name, even `cluster`.
        let owner = if PluginId::is_title(report.origin) {
            report.origin
        } else {
            report.component
        };
        let call = PluginCall {
            component: owner.to_owned(),
            interface: report.interface,
            function: report.function,
            outcome: report
                .failure
                .map_or(SUCCESS, |failure| failure.reason().as_str()),
        };
        self.0.called(&call, report.duration, report.memory);
    }
}

/// The loaded components, and the means to load more.
pub(crate) struct Defaults {
    /// Logic plugins and policies.
    pub(crate) plugins: Plugins,
    /// Compiles and runs components.
    pub(crate) engine: Engine,
    /// Store of components for the next start.
    pub(crate) component_cache: ComponentCache,
}

/// Loads all components, which share the time of `cores` processors. A component that can't be loaded is logged and
/// does not stop the others.
///
/// # Errors
///
/// Returns an error if there is no engine for this machine, or if settings can't be read or are refused by their
/// component: settings are in the command line, so an operator that starts without them would never become ready, and
/// its pod would not show the reason.
pub(crate) fn load(
    args: &PluginArgs,
    allowed_kinds: AllowedKinds,
    metrics: PluginMetrics,
    cores: usize,
) -> anyhow::Result<Defaults> {
    let observer: Arc<dyn CallObserver> = Arc::new(Counted(metrics));
    let CachedEngine {
        engine, cache_dir, ..
    } = engine(args.cache_dir.as_deref(), observer)?;
    let LoadedPlugins { logic, policies } = components::load_each(&engine, args, CallLimits::default())?;
    let mut defaults = BTreeMap::new();
    let mut components = Vec::new();
    for (kind, loaded) in logic {
        let plugin = match loaded {
            Ok((plugin, component)) => {
                debug!(origin = component.origin(), compiled = ?component.compiled(), "component");
                components.push(component);
                Ok(Arc::new(plugin))
            }
            Err(error @ components::PluginLoadError::Settings { .. }) => return Err(error.into()),
            Err(components::PluginLoadError::Call { title, failure }) => {
                Err(PluginError::no_answer(&title, &failure))
            }
            Err(error) => Err(PluginError::unusable(kind.kind(), error.to_string())),
        };
        match &plugin {
            Ok(plugin) => info!(kind = kind.kind(), plugin = plugin.title, "component loaded"),
            Err(error) => error!(
                kind = kind.kind(),
                "{error}: resources of this kind are not reconciled"
            ),
        }
        defaults.insert(kind, plugin);
    }
    for policy in &policies {
        info!(policy = policy.title, "policy loaded");
    }
    let catalog = Catalog::new(defaults, policies).made_of(components);
    Ok(Defaults {
        plugins: Plugins::new(catalog, allowed_kinds, cores),
        engine,
        component_cache: ComponentCache::new(cache_dir.map(|cache| cache.join("plugins"))),
    })
}

/// Returns an engine, with a cache of compiled components if possible: without one, only starts take longer.
fn engine(cache_dir: Option<&Path>, observer: Arc<dyn CallObserver>) -> anyhow::Result<CachedEngine> {
    let program = std::env::current_exe().context("the operator's own program, which compiles components")?;
    let config = EngineConfig {
        observer: Some(observer),
        ..EngineConfig::default()
    };
    let created = cached_engine(cache_dir, &config, |dir| Some(compiler(program, dir)));
    let created = created.map_err(|error| {
        let context = match error {
            EngineError::CacheDir { .. } => "--cache-dir",
            _ => "the engine for components",
        };
        anyhow::Error::new(error).context(context)
    })?;
    if let Some(problem) = &created.cache_problem {
        warn!("compiled components are not cached, and the next start takes as long as this one: {problem}");
    }
    Ok(created)
}

/// Returns this program, as `dask-operator compile`, as the compiler.
fn compiler(program: PathBuf, cache: &Path) -> CompilerProgram {
    CompilerProgram {
        program,
        arguments: vec!["compile".into(), "--cache-dir".into(), cache.into()],
        memory: ContainerMemory::of_this_process(),
    }
}
