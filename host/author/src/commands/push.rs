//! The subcommand `dask-operator plugin push`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use dask_operator_core::digest::Digest;
use dask_operator_plugin_build::interfaces;
use dask_operator_runtime::{CallLimits, Component};
use dask_operator_sources::oci::ImageMetadata;

use super::{CommandResult, Streams};
use crate::registry::{RegistryArgs, read};
use crate::simulation::engine;

/// Pushes a component to a registry. A component that the operator would not load is not pushed.
#[derive(Args, Clone, Debug)]
pub struct PushArgs {
    /// The component.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The image, for example registry.example.com/team/worker-limit:1.0.0.
    #[arg(value_name = "IMAGE")]
    pub reference: String,

    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

pub(super) fn run(args: &PushArgs, streams: &mut Streams<'_>) -> CommandResult {
    let bytes = read(&args.file)?;
    let engine = engine()?;
    let origin = args.file.display().to_string();
    let component = Component::load(&engine, &origin, &bytes, CallLimits::default()).map_err(Box::new)?;
    let description = component.description();
    let seen = interfaces(&bytes).unwrap_or_default();
    let annotation = |name: &str, value: &str| (format!("org.opencontainers.image.{name}"), value.to_owned());
    let about = ImageMetadata {
        exports: seen.exports,
        imports: seen.imports,
        annotations: BTreeMap::from([
            annotation("title", &description.name),
            annotation("version", &description.version),
            annotation("description", &description.summary),
        ]),
    };
    let component_digest = Digest::of(&bytes);
    let image_digest = args
        .registry
        .push(&args.reference, bytes, &about, streams.stdin)?;
    writeln!(streams.out, "{}", args.reference)?;
    writeln!(streams.out, "  digest  {component_digest}")?;
    writeln!(streams.out, "  image   {image_digest}")?;
    Ok(true)
}
