//! The subcommand `dask-operator plugin build`.

use std::path::PathBuf;

use clap::Args;
use dask_operator_core::digest::Digest;
use dask_operator_plugin_build::Build;

use super::{CommandResult, Streams, size};

/// Builds a plugin crate into a component, with the WebAssembly compiler that this machine has.
///
/// Errors of the compiler are printed unchanged.
#[derive(Args, Clone, Debug)]
pub struct BuildArgs {
    /// The crate's folder.
    #[arg(default_value = ".")]
    pub folder: PathBuf,

    /// The folder for the component and the build's other files. [default: target/plugin in the crate's folder]
    #[arg(long, value_name = "FOLDER", env = "DASK_OPERATOR_PLUGIN_TARGET")]
    pub target_dir: Option<PathBuf>,
}

pub(super) fn run(args: &BuildArgs, streams: &mut Streams<'_>) -> CommandResult {
    let target = args
        .target_dir
        .clone()
        .unwrap_or_else(|| args.folder.join("target/plugin"));
    let built = Build::new(target).plugin(&args.folder).run()?;
    for component in built {
        let shown = std::env::current_dir().ok();
        let shown = shown.and_then(|here| component.path.strip_prefix(here).ok().map(PathBuf::from));
        writeln!(
            streams.out,
            "{}",
            shown.as_ref().unwrap_or(&component.path).display()
        )?;
        writeln!(streams.out, "  size     {}", size(component.bytes.len()))?;
        writeln!(streams.out, "  digest   {}", Digest::of(&component.bytes))?;
        writeln!(streams.out, "  exports  {}", component.exports.join(", "))?;
    }
    Ok(true)
}
