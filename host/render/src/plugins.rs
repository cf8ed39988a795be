//! The component of each kind: the default one, or somebody's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::{Component, Engine, EngineConfig, EngineError, Interface, Limits, LoadError};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::findings::sentences;
use crate::logic::{ComponentLogic, Logic, interface};
use crate::policy::{Mode, Policy, title};
use crate::render::Deciders;

/// Which components, and with what settings.
#[derive(Args, Clone, Debug, Default)]
pub struct PluginArgs {
    /// Use another component for a kind: cluster, worker-group, job or autoscaler. Can be repeated.
    #[arg(long = "plugin", value_name = "KIND=FILE", value_parser = plugin, help_heading = "Components")]
    pub plugins: Vec<(Interface, PathBuf)>,

    /// Ask this policy too, after those given before it. Can be repeated.
    #[arg(long = "policy", value_name = "FILE", help_heading = "Components")]
    pub policies: Vec<PathBuf>,

    /// A setting of a component, as `worker-group.workload=deployment`, or of a policy by its own name; the value is JSON, or else text. Can be repeated.
    #[arg(long = "setting", value_name = "KIND.KEY=VALUE", value_parser = setting, help_heading = "Components")]
    pub settings: Vec<Setting>,

    /// A YAML file with settings: an object for each kind, or policy by its own name, that has any. Those given by --setting win.
    #[arg(long = "settings", value_name = "FILE", help_heading = "Components")]
    pub settings_file: Option<PathBuf>,

    /// Settings that stand elsewhere: of components that know them, where nothing else is said.
    #[arg(skip)]
    pub inherited: Vec<Setting>,

    /// Where compiled components are kept, so that the next start is faster.
    #[arg(
        long,
        value_name = "FOLDER",
        env = "DASK_OPERATOR_CACHE_DIR",
        help_heading = "Components"
    )]
    pub cache_dir: Option<PathBuf>,
}

/// One setting from the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// A kind of component, or a policy's name.
    place: String,
    key: String,
    value: Value,
}

impl Setting {
    /// The setting `key` of a kind of component, or of a policy.
    #[must_use]
    pub fn new(place: &str, key: &str, value: Value) -> Self {
        Self {
            place: place.to_owned(),
            key: key.to_owned(),
            value,
        }
    }
}

/// Why the components can't be used.
#[derive(Debug, Error)]
pub enum PluginError {
    /// There is no WebAssembly engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A component can't be loaded.
    #[error(transparent)]
    Load(#[from] Box<LoadError>),
    /// A file can't be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: std::io::Error,
    },
    /// The component has not the interface that it is wanted for.
    #[error("{source_name}: this component does not export {wanted}; it exports {has}")]
    WrongInterface {
        /// Where the component comes from.
        source_name: String,
        /// What it is wanted for.
        wanted: Interface,
        /// What it has.
        has: String,
    },
    /// Settings that aren't.
    #[error("{place}: {message}")]
    Settings {
        /// Where they stand.
        place: String,
        /// What is wrong.
        message: String,
    },
}

/// A component with its settings, or why there is none.
pub type Loaded = Result<(ComponentLogic, String), PluginError>;

/// The components, ready to be called.
#[derive(Clone, Debug)]
pub struct Plugins {
    by_kind: Vec<(DaskKind, ComponentLogic, String)>,
    policies: Vec<Arc<Policy>>,
}

/// What became of each of the components.
#[derive(Debug)]
pub struct Each {
    /// The logic of each kind.
    pub logic: Vec<(DaskKind, Loaded)>,
    /// The policies, in the order in which they are asked.
    pub policies: Vec<Arc<Policy>>,
}

impl Plugins {
    /// Loads the components that `args` ask for, the default ones where they
    /// don't, and checks their settings.
    ///
    /// # Errors
    ///
    /// When one can't be read, is unfit, or has settings that it refuses.
    pub fn load(engine: &Engine, args: &PluginArgs, limits: Limits) -> Result<Self, PluginError> {
        let Each { logic, policies } = Self::load_each(engine, args, limits)?;
        let by_kind = logic.into_iter().map(|(kind, loaded)| {
            let (logic, settings) = loaded?;
            Ok((kind, logic, settings))
        });
        Ok(Self {
            by_kind: by_kind.collect::<Result<_, PluginError>>()?,
            policies,
        })
    }

    /// Loads the same, each with its settings, and goes on when the logic of a kind
    /// is broken. A broken policy is an error: nothing may go past it.
    ///
    /// # Errors
    ///
    /// When the settings can't be read, or a policy can't be used.
    pub fn load_each(engine: &Engine, args: &PluginArgs, limits: Limits) -> Result<Each, PluginError> {
        let mut settings = read_settings(args)?;
        let components = args
            .policies
            .iter()
            .map(|path| file(engine, path, Interface::Policy, limits));
        let components = components.collect::<Result<Vec<_>, _>>()?;
        let names: Vec<_> = components.iter().map(Component::name).collect();
        if let Some(unknown) = settings
            .keys()
            .find(|place| logic(place).is_none() && !names.contains(&place.as_str()))
        {
            return Err(PluginError::Settings {
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
            policies.push(Arc::new(Policy {
                title: title(&component),
                settings,
                mode: Mode::Protect,
                rules: Box::new(component),
            }));
        }
        let mut load = |kind: DaskKind| {
            let interface = interface(kind);
            let component = component(engine, args, interface, limits)?;
            let mut own = settings.remove(interface.name()).unwrap_or_default();
            let schema = &component.description().settings_schema;
            inherit(&mut own, &args.inherited, interface.name(), schema);
            let settings = Value::Object(own).to_string();
            check_settings(&component, interface.name(), &settings)?;
            Ok((ComponentLogic { component, interface }, settings))
        };
        Ok(Each {
            logic: DaskKind::ALL.into_iter().map(|kind| (kind, load(kind))).collect(),
            policies,
        })
    }

    /// The component of a kind.
    #[must_use]
    pub fn of(&self, kind: DaskKind) -> &ComponentLogic {
        &self.entry(kind).1
    }

    fn entry(&self, kind: DaskKind) -> &(DaskKind, ComponentLogic, String) {
        // `load` puts one entry for each kind there.
        let index = DaskKind::ALL
            .iter()
            .position(|other| *other == kind)
            .unwrap_or_default();
        &self.by_kind[index]
    }
}

impl Deciders for Plugins {
    fn logic(&self, kind: DaskKind) -> &dyn Logic {
        &self.entry(kind).1
    }

    fn settings(&self, kind: DaskKind) -> &str {
        &self.entry(kind).2
    }

    fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }
}

/// An engine that keeps compiled components where `args` say, or else in the user's
/// cache folder; where that can't be had it keeps none, and the text says why.
///
/// # Errors
///
/// When there is no engine for this machine, or the folder that `args` name can't be used.
pub fn engine(args: &PluginArgs) -> Result<(Engine, Option<String>), EngineError> {
    let config = |dir: Option<PathBuf>| EngineConfig {
        cache: dir.map(Into::into),
        ..EngineConfig::default()
    };
    if args.cache_dir.is_some() {
        return Ok((Engine::new(config(args.cache_dir.clone()))?, None));
    }
    match Engine::new(config(usual_cache())) {
        Ok(engine) => Ok((engine, None)),
        Err(error @ EngineError::CacheDir { .. }) => {
            Ok((Engine::new(config(None))?, Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// The usual place of a user's caches.
fn usual_cache() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Some(base?.join("dask-operator").join("components"))
}

fn component(
    engine: &Engine,
    args: &PluginArgs,
    interface: Interface,
    limits: Limits,
) -> Result<Component, PluginError> {
    let chosen = args.plugins.iter().rev().find(|(kind, _)| *kind == interface);
    if let Some((_, path)) = chosen {
        return file(engine, path, interface, limits);
    }
    let embedded = match interface {
        Interface::WorkerGroup => &dask_operator_components::WORKER_GROUP,
        Interface::Job => &dask_operator_components::JOB,
        Interface::Autoscaler => &dask_operator_components::AUTOSCALER,
        Interface::Cluster | Interface::Policy => &dask_operator_components::CLUSTER,
    };
    let source = format!("the default {} component", interface.name());
    let component = Component::load_known(engine, &source, embedded.bytes, embedded.sha256.into(), limits)
        .map_err(Box::new)?;
    has(component, interface)
}

/// The component in a file, which must have this interface.
fn file(
    engine: &Engine,
    path: &Path,
    interface: Interface,
    limits: Limits,
) -> Result<Component, PluginError> {
    let bytes = fs::read(path).map_err(|error| PluginError::Io {
        path: path.to_owned(),
        error,
    })?;
    let component = Component::load(engine, &path.display().to_string(), &bytes, limits).map_err(Box::new)?;
    has(component, interface)
}

/// The component, if it has that interface.
fn has(component: Component, wanted: Interface) -> Result<Component, PluginError> {
    if component.has(wanted) {
        return Ok(component);
    }
    let has: Vec<_> = component.interfaces().iter().map(ToString::to_string).collect();
    Err(PluginError::WrongInterface {
        source_name: component.origin().to_owned(),
        wanted,
        has: has.join(", "),
    })
}

fn check_settings(component: &Component, place: &str, settings: &str) -> Result<(), PluginError> {
    let wrong = |message: String| PluginError::Settings {
        place: format!("settings of {place}"),
        message,
    };
    let findings = component
        .validate_settings(settings)
        .map_err(|error| wrong(error.to_string()))?;
    if findings.is_empty() {
        return Ok(());
    }
    Err(wrong(sentences(&findings)))
}

/// Settings by the name of the interface, or of the policy.
type Settings = std::collections::BTreeMap<String, Map<String, Value>>;

fn read_settings(args: &PluginArgs) -> Result<Settings, PluginError> {
    let mut settings = Settings::new();
    if let Some(path) = &args.settings_file {
        let text = fs::read_to_string(path).map_err(|error| PluginError::Io {
            path: path.clone(),
            error,
        })?;
        let wrong = |message: String| PluginError::Settings {
            place: path.display().to_string(),
            message,
        };
        settings = serde_saphyr::from_str(&text)
            .map_err(|error| wrong(format!("an object for each of {} is wanted: {error}", kinds())))?;
    }
    for Setting { place, key, value } in &args.settings {
        settings
            .entry(place.clone())
            .or_default()
            .insert(key.clone(), value.clone());
    }
    Ok(settings)
}

/// Adds to the settings of a kind of component what it inherits: what its schema knows and nobody has set.
fn inherit(settings: &mut Map<String, Value>, inherited: &[Setting], place: &str, schema: &str) {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    for setting in inherited.iter().filter(|setting| setting.place == place) {
        if schema["properties"].get(&setting.key).is_some() {
            settings
                .entry(setting.key.clone())
                .or_insert_with(|| setting.value.clone());
        }
    }
}

fn kinds() -> String {
    Interface::LOGIC.map(Interface::name).join(", ")
}

fn logic(name: &str) -> Option<Interface> {
    Interface::from_name(name).filter(|interface| Interface::LOGIC.contains(interface))
}

/// `KIND=FILE`
fn plugin(text: &str) -> Result<(Interface, PathBuf), String> {
    let (kind, file) = text
        .split_once('=')
        .ok_or("write KIND=FILE, as in worker-group=mine.wasm")?;
    let interface =
        logic(kind).ok_or_else(|| format!("{kind} is no kind of component; there are {}", kinds()))?;
    Ok((interface, file.into()))
}

/// `KIND.KEY=VALUE`
fn setting(text: &str) -> Result<Setting, String> {
    let form = "write KIND.KEY=VALUE, as in worker-group.workload=deployment";
    let (place, value) = text.split_once('=').ok_or(form)?;
    let (place, key) = place.split_once('.').ok_or(form)?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok(Setting {
        place: place.to_owned(),
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
    fn settings_are_json_or_text(#[case] text: &str, #[case] key: &str, #[case] value: Value) {
        let setting = setting(text).map(|setting| (setting.key, setting.value));
        assert_eq!(setting, Ok((key.to_owned(), value)));
    }

    #[test]
    fn what_nobody_has_set_is_inherited() {
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
    fn embedded_digests_are_those_of_the_components() {
        for component in dask_operator_components::ALL {
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
    fn wrong_settings_say_what_to_write(#[case] text: &str, #[case] expected: &str) {
        let error = setting(text).map_err(|error| error.contains(expected));
        assert_eq!(error.map(|_| ()), Err(true));
    }
}
