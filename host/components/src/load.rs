//! Loading of the component of each kind, either the default one or a replacement, and of policies.
//!
//! Reads components and settings from files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use dask_operator_core::gate::kinds::{NoChild, child_kind};
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_evaluator::findings::to_text;
use dask_operator_evaluator::logic::{ComponentLogic, LogicPlugin, PluginFailure, interface, title};
use dask_operator_evaluator::policy::{Mode, PolicyPlugin};
use dask_operator_evaluator::{AllowedKinds, ByKind, PluginSet};
use dask_operator_runtime::{CallLimits, Component, Engine, EngineConfig, EngineError, Interface, LoadError};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::engine::{CachedEngine, cached_engine};

/// Command line options that select components and their settings.
#[derive(Args, Clone, Debug, Default)]
pub struct PluginArgs {
    /// Component to use for a kind in place of the default one. The kind is cluster, worker-group, job or autoscaler. Can be repeated.
    #[arg(long = "plugin", value_name = "KIND=FILE", value_parser = parse_plugin, help_heading = "Components")]
    pub plugins: Vec<(Interface, PathBuf)>,

    /// Policy to call. Can be repeated: policies are called in the given order.
    #[arg(long = "policy", value_name = "FILE", help_heading = "Components")]
    pub policies: Vec<PathBuf>,

    /// Setting of a component, such as `worker-group.workload=deployment`, or of a policy, by its name. A value that is not JSON is text. Can be repeated.
    #[arg(long = "setting", value_name = "KIND.KEY=VALUE", value_parser = parse_setting, help_heading = "Components")]
    pub settings: Vec<Setting>,

    /// YAML file with settings: one object for each kind of component, or for each policy, by its name. Settings from --setting take precedence.
    #[arg(long = "settings", value_name = "FILE", help_heading = "Components")]
    pub settings_file: Option<PathBuf>,

    /// Settings from other sources. They apply to components whose schema has them, if no other option sets them.
    #[arg(skip)]
    pub inherited: Vec<Setting>,

    /// Folder for the cache of compiled components, which makes the next start faster.
    #[arg(
        long,
        value_name = "FOLDER",
        env = "DASK_OPERATOR_CACHE_DIR",
        help_heading = "Components"
    )]
    pub cache_dir: Option<PathBuf>,
}

impl PluginArgs {
    /// Creates the engine of a command, whose own process compiles components.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`cached_engine`].
    pub fn engine(&self) -> Result<CachedEngine, EngineError> {
        cached_engine(self.cache_dir.as_deref(), &EngineConfig::default(), |_| None)
    }
}

/// Command line option that allows kinds of children, for commands that need no cluster.
#[derive(Args, Clone, Debug, Default)]
pub struct AllowedKindArgs {
    /// Allow components to create children of this kind too, as --allow-child of the operator. Can be repeated.
    #[arg(long = "allow-child", value_name = "APIVERSION/KIND", value_parser = allowed_kind, help_heading = "Components")]
    pub allow_child: Vec<ResourceKind>,
}

impl AllowedKindArgs {
    /// Returns the allowed kinds.
    #[must_use]
    pub fn kinds(&self) -> AllowedKinds {
        AllowedKinds::new(&self.allow_child, &[])
    }
}

/// One setting from the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// A kind of component or the name of a policy.
    target: String,
    key: String,
    value: Value,
}

impl Setting {
    /// Creates the setting `key` of a kind of component, or of the policy with the name `target`.
    #[must_use]
    pub fn new(target: &str, key: &str, value: Value) -> Self {
        Self {
            target: target.to_owned(),
            key: key.to_owned(),
            value,
        }
    }
}

/// Error of loading components.
#[derive(Debug, Error)]
pub enum PluginLoadError {
    /// The WebAssembly engine can't be created.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A component can't be loaded.
    #[error(transparent)]
    Load(#[from] Box<LoadError>),
    /// A file can't be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        error: std::io::Error,
    },
    /// The component does not export the required interface.
    #[error("{source_name}: this component does not export {wanted}; it exports {has}")]
    WrongInterface {
        /// The source of the component.
        source_name: String,
        /// The required interface.
        wanted: Interface,
        /// The interfaces that the component exports.
        has: String,
    },
    /// The component does not declare the kinds of its children, because the call failed.
    #[error("{title}: {failure}")]
    Call {
        /// Name of the component in messages.
        title: String,
        /// The error of the call.
        failure: PluginFailure,
    },
    /// Settings are invalid.
    #[error("{place}: {message}")]
    Settings {
        /// The source of the settings, or the component that they are for.
        place: String,
        /// The problem.
        message: String,
    },
}

/// A logic plugin and its component, or the error of loading it.
pub type LoadedLogic = Result<(LogicPlugin, Component), PluginLoadError>;

/// Result of loading each component separately.
#[derive(Debug)]
pub struct LoadedPlugins {
    /// The logic of each kind.
    pub logic: Vec<(DaskKind, LoadedLogic)>,
    /// The policies, in the order in which they are called.
    pub policies: Vec<Arc<PolicyPlugin>>,
}

/// Loads the components that `args` select, or else the default ones, and checks their settings.
///
/// # Errors
///
/// Returns an error if a component can't be read, can't be used, or refuses its settings.
pub fn load(
    engine: &Engine,
    args: &PluginArgs,
    allowed_kinds: AllowedKinds,
    limits: CallLimits,
) -> Result<PluginSet, PluginLoadError> {
    let mut settings = read_settings(args)?;
    let policies = load_policies(engine, args, &settings, limits)?;
    let logic = ByKind::try_new(|kind| {
        let (plugin, _) = load_logic(engine, args, kind, &mut settings, limits)?;
        Ok::<_, PluginLoadError>(Arc::new(plugin))
    })?;
    Ok(PluginSet {
        logic,
        policies,
        allowed_kinds,
    })
}

/// Loads the components that `args` select, or else the default ones, each with its settings. Loading continues if the logic
/// of a kind is broken. A broken policy is an error, because requests must not bypass it.
///
/// # Errors
///
/// Returns an error if the settings can't be read, or if a policy can't be used.
pub fn load_each(
    engine: &Engine,
    args: &PluginArgs,
    limits: CallLimits,
) -> Result<LoadedPlugins, PluginLoadError> {
    let mut settings = read_settings(args)?;
    let policies = load_policies(engine, args, &settings, limits)?;
    let load = |kind| (kind, load_logic(engine, args, kind, &mut settings, limits));
    Ok(LoadedPlugins {
        logic: DaskKind::ALL.into_iter().map(load).collect(),
        policies,
    })
}

fn load_policies(
    engine: &Engine,
    args: &PluginArgs,
    settings: &Settings,
    limits: CallLimits,
) -> Result<Vec<Arc<PolicyPlugin>>, PluginLoadError> {
    let components = args
        .policies
        .iter()
        .map(|path| load_file(engine, path, Interface::Policy, limits));
    let components = components.collect::<Result<Vec<_>, _>>()?;
    let names: Vec<_> = components.iter().map(Component::name).collect();
    if let Some(unknown) = settings
        .keys()
        .find(|target| logic_interface(target).is_none() && !names.contains(&target.as_str()))
    {
        return Err(PluginLoadError::Settings {
            place: format!("settings of {unknown}"),
            message: match names.as_slice() {
                [] => format!("{unknown} is no kind of component; there are {}", kinds()),
                names => format!(
                    "{unknown} is no kind of component and no policy; there are {} and the policies {}",
                    kinds(),
                    names.join(", ")
                ),
            },
        });
    }
    let mut policies = Vec::new();
    for component in components {
        let name = component.name().to_owned();
        let settings = Value::Object(settings.get(&name).cloned().unwrap_or_default()).to_string();
        check_settings(&component, &name, &settings)?;
        policies.push(Arc::new(PolicyPlugin {
            title: title(&component),
            settings,
            mode: Mode::Protect,
            rules: Box::new(component),
        }));
    }
    Ok(policies)
}

fn load_logic(
    engine: &Engine,
    args: &PluginArgs,
    kind: DaskKind,
    settings: &mut Settings,
    limits: CallLimits,
) -> LoadedLogic {
    let interface = interface(kind);
    let component = load_component(engine, args, interface, limits)?;
    let mut own = settings.remove(interface.name()).unwrap_or_default();
    let schema = &component.description().settings_schema;
    inherit(&mut own, &args.inherited, interface.name(), schema);
    let settings = Value::Object(own).to_string();
    check_settings(&component, interface.name(), &settings)?;
    let logic = ComponentLogic {
        component: component.clone(),
        interface,
    };
    let plugin = LogicPlugin::of_component(logic, settings).map_err(|failure| PluginLoadError::Call {
        title: title(&component),
        failure,
    })?;
    Ok((plugin, component))
}

/// Loads the component for a logic interface: the last one that `args` name for it, or else the default one.
fn load_component(
    engine: &Engine,
    args: &PluginArgs,
    interface: Interface,
    limits: CallLimits,
) -> Result<Component, PluginLoadError> {
    let chosen = args.plugins.iter().rev().find(|(kind, _)| *kind == interface);
    if let Some((_, path)) = chosen {
        return load_file(engine, path, interface, limits);
    }
    let embedded = match interface {
        Interface::WorkerGroup => &crate::WORKER_GROUP,
        Interface::Job => &crate::JOB,
        Interface::Autoscaler => &crate::AUTOSCALER,
        Interface::Cluster | Interface::Policy => &crate::CLUSTER,
    };
    let source = format!("the default {} component", interface.name());
    let component = Component::load_known(engine, &source, embedded.bytes, embedded.sha256.into(), limits)
        .map_err(Box::new)?;
    require_interface(component, interface)
}

/// Loads the component in a file. It must export `interface`.
fn load_file(
    engine: &Engine,
    path: &Path,
    interface: Interface,
    limits: CallLimits,
) -> Result<Component, PluginLoadError> {
    let bytes = fs::read(path).map_err(|error| PluginLoadError::Io {
        path: path.to_owned(),
        error,
    })?;
    let component = Component::load(engine, &path.display().to_string(), &bytes, limits).map_err(Box::new)?;
    require_interface(component, interface)
}

/// Returns the component, or an error if it does not export `wanted`.
fn require_interface(component: Component, wanted: Interface) -> Result<Component, PluginLoadError> {
    if component.has(wanted) {
        return Ok(component);
    }
    let has: Vec<_> = component.interfaces().iter().map(ToString::to_string).collect();
    Err(PluginLoadError::WrongInterface {
        source_name: component.origin().to_owned(),
        wanted,
        has: has.join(", "),
    })
}

/// Has the component validate its settings, a JSON object. `target` is the name of the kind or policy, for messages.
fn check_settings(component: &Component, target: &str, settings: &str) -> Result<(), PluginLoadError> {
    let invalid = |message: String| PluginLoadError::Settings {
        place: format!("settings of {target}"),
        message,
    };
    let findings = component
        .validate_settings(settings)
        .map_err(|error| invalid(error.to_string()))?;
    if findings.is_empty() {
        return Ok(());
    }
    Err(invalid(to_text(&findings)))
}

/// Settings by the name of the interface or policy.
type Settings = std::collections::BTreeMap<String, Map<String, Value>>;

/// Reads the settings from the file and from the command line. The latter take precedence.
fn read_settings(args: &PluginArgs) -> Result<Settings, PluginLoadError> {
    let mut settings = Settings::new();
    if let Some(path) = &args.settings_file {
        let text = fs::read_to_string(path).map_err(|error| PluginLoadError::Io {
            path: path.clone(),
            error,
        })?;
        let invalid = |message: String| PluginLoadError::Settings {
            place: path.display().to_string(),
            message,
        };
        settings = serde_saphyr::from_str(&text)
            .map_err(|error| invalid(format!("an object for each of {} is wanted: {error}", kinds())))?;
    }
    for Setting { target, key, value } in &args.settings {
        settings
            .entry(target.clone())
            .or_default()
            .insert(key.clone(), value.clone());
    }
    Ok(settings)
}

/// Adds the inherited settings of a kind of component: those that its schema has and that are not set yet.
fn inherit(settings: &mut Map<String, Value>, inherited: &[Setting], target: &str, schema: &str) {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    for setting in inherited.iter().filter(|setting| setting.target == target) {
        if schema["properties"].get(&setting.key).is_some() {
            settings
                .entry(setting.key.clone())
                .or_insert_with(|| setting.value.clone());
        }
    }
}

/// Returns the names of the logic interfaces, for messages.
fn kinds() -> String {
    Interface::LOGIC.map(Interface::name).join(", ")
}

/// Returns the logic interface of this name; `None` for other names.
fn logic_interface(name: &str) -> Option<Interface> {
    Interface::from_name(name).filter(|interface| Interface::LOGIC.contains(interface))
}

/// Parses the value of `--plugin`, `KIND=FILE`.
fn parse_plugin(text: &str) -> Result<(Interface, PathBuf), String> {
    let (kind, file) = text
        .split_once('=')
        .ok_or("write KIND=FILE, as in worker-group=mine.wasm")?;
    let interface = logic_interface(kind)
        .ok_or_else(|| format!("{kind} is no kind of component; there are {}", kinds()))?;
    Ok((interface, file.into()))
}

/// Parses the value of `--allow-child`. A plural, which the operator needs for requests, is ignored.
fn allowed_kind(text: &str) -> Result<ResourceKind, NoChild> {
    child_kind(text.split_once('=').map_or(text, |(name, _)| name))
}

/// Parses the value of `--setting`, `KIND.KEY=VALUE`.
fn parse_setting(text: &str) -> Result<Setting, String> {
    let form = "write KIND.KEY=VALUE, as in worker-group.workload=deployment";
    let (name, value) = text.split_once('=').ok_or(form)?;
    let (target, key) = name.split_once('.').ok_or(form)?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok(Setting {
        target: target.to_owned(),
        key: key.to_owned(),
        value,
    })
}

#[cfg(test)]
mod tests {
    use dask_operator_runtime::Digest;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("worker-group.workload=deployment", "workload", json!("deployment"))]
    #[case("worker-group.batchSize=5", "batchSize", json!(5))]
    #[case("cluster.annotationFilter=[\"a=b\"]", "annotationFilter", json!(["a=b"]))]
    fn values_of_settings_are_json_or_text(#[case] text: &str, #[case] key: &str, #[case] value: Value) {
        let setting = parse_setting(text).map(|setting| (setting.key, setting.value));
        assert_eq!(setting, Ok((key.to_owned(), value)));
    }

    #[rstest]
    #[case("cert-manager.io/v1/Certificate", Some("Certificate"))]
    #[case("example.org/v1/Ox=oxen", Some("Ox"))]
    #[case("v1/Secret", None)]
    #[case("Pod", None)]
    fn kinds_that_hold_secrets_are_never_allowed(#[case] text: &str, #[case] kind: Option<&str>) {
        let parsed = allowed_kind(text).ok().map(|kind| kind.kind);
        assert_eq!(parsed.as_deref(), kind);
    }

    #[test]
    fn settings_of_the_schema_that_are_not_set_are_inherited() {
        let mut settings = Map::new();
        settings.insert("batchSize".to_owned(), json!(5));
        let inherited = [
            Setting::new("worker-group", "batchSize", json!(2)),
            Setting::new("worker-group", "delay", json!(30)),
            Setting::new("worker-group", "unheardOf", json!(1)),
            Setting::new("cluster", "defaultImage", json!("x")),
        ];
        let schema = json!({"properties": {"batchSize": {}, "delay": {}, "defaultImage": {}}}).to_string();
        inherit(&mut settings, &inherited, "worker-group", &schema);
        assert_eq!(Value::Object(settings), json!({"batchSize": 5, "delay": 30}));
    }

    #[test]
    fn embedded_digests_match_the_components() {
        for component in crate::ALL {
            assert_eq!(
                Digest::from(component.sha256),
                Digest::of(component.bytes),
                "{}",
                component.name
            );
        }
    }

    #[rstest]
    #[case("workload=pod", "write KIND.KEY=VALUE")]
    fn an_error_about_a_setting_contains_the_expected_form(#[case] text: &str, #[case] expected: &str) {
        let error = parse_setting(text).map_err(|error| error.contains(expected));
        assert_eq!(error.map(|_| ()), Err(true));
    }
}
