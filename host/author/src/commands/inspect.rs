//! The subcommand `dask-operator plugin inspect`.

use clap::{Args, ValueEnum};
use dask_operator_core::digest::Digest;
use dask_operator_plugin_build::interfaces;
use dask_operator_runtime::{CallLimits, Component};
use serde_json::{Value, json};

use super::{CommandResult, Streams, size};
use crate::registry::RegistryArgs;
use crate::simulation::engine;

/// Describes a component: its name and version, its interfaces with the contract's version, its settings, its imports,
/// its size and its digest. If the operator would not load the component, the reason is printed.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// The component: a file, or an image in a registry.
    #[arg(value_name = "FILE|IMAGE")]
    pub source: String,

    /// Output format.
    #[arg(short = 'o', long, value_enum, default_value_t = InspectFormat::Text)]
    pub output: InspectFormat,

    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InspectFormat {
    /// Text for reading.
    Text,
    /// JSON for programs.
    Json,
}

pub(super) fn run(args: &InspectArgs, streams: &mut Streams<'_>) -> CommandResult {
    let bytes = args.registry.bytes(&args.source, streams.stdin)?;
    let seen = interfaces(&bytes).unwrap_or_default();
    let engine = engine()?;
    let loaded = Component::load(&engine, &args.source, &bytes, CallLimits::default());
    let about = json!({
        "digest": Digest::of(&bytes).to_string(),
        "size": bytes.len(),
        "imports": seen.imports,
        "exports": seen.exports,
    });
    let is_loadable = loaded.is_ok();
    let about = match &loaded {
        Ok(component) => with_description(about, component),
        Err(error) => with(about, json!({"unfit": error.reason.to_string()})),
    };
    match args.output {
        InspectFormat::Json => writeln!(
            streams.out,
            "{}",
            serde_json::to_string_pretty(&about).unwrap_or_default()
        )?,
        InspectFormat::Text => print(&about, bytes.len(), streams)?,
    }
    Ok(is_loadable)
}

fn with(mut about: Value, more: Value) -> Value {
    if let (Some(about), Value::Object(more)) = (about.as_object_mut(), more) {
        about.extend(more);
    }
    about
}

fn with_description(about: Value, component: &Component) -> Value {
    let description = component.description();
    let schema: Value = serde_json::from_str(&description.settings_schema).unwrap_or_default();
    let interfaces: Vec<_> = component.interfaces().iter().map(ToString::to_string).collect();
    with(
        about,
        json!({
            "name": description.name,
            "version": description.version,
            "summary": description.summary,
            "interfaces": interfaces,
            "settingsSchema": schema,
        }),
    )
}

fn print(about: &Value, bytes: usize, streams: &mut Streams<'_>) -> std::io::Result<()> {
    let text = |name: &str| about[name].as_str().unwrap_or_default();
    let list = |name: &str| -> String {
        let texts: Vec<_> = about[name]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if texts.is_empty() {
            "nothing".to_owned()
        } else {
            texts.join(", ")
        }
    };
    let out = &mut *streams.out;
    match about.get("unfit").and_then(Value::as_str) {
        Some(why) => writeln!(out, "The operator would not load it: {why}\n")?,
        None => writeln!(out, "{} {}: {}\n", text("name"), text("version"), text("summary"))?,
    }
    if about.get("unfit").is_none() {
        writeln!(out, "interfaces  {}", list("interfaces"))?;
    } else {
        writeln!(out, "exports     {}", list("exports"))?;
    }
    writeln!(out, "imports     {}", list("imports"))?;
    writeln!(out, "size        {}", size(bytes))?;
    writeln!(out, "digest      {}", text("digest"))?;
    if about.get("unfit").is_some() {
        return Ok(());
    }
    let schema = &about["settingsSchema"];
    match schema["properties"]
        .as_object()
        .filter(|properties| !properties.is_empty())
    {
        None => writeln!(out, "settings    none")?,
        Some(properties) => {
            writeln!(out, "settings")?;
            for (name, property) in properties {
                let description = property["description"]
                    .as_str()
                    .unwrap_or_default()
                    .replace('\n', " ");
                let default = property
                    .get("default")
                    .map(|default| format!(" [default: {default}]"));
                writeln!(out, "  {name}: {description}{}", default.unwrap_or_default())?;
            }
        }
    }
    Ok(())
}
