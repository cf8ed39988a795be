//! The subcommand `dask-operator plugin pull`.

use std::path::PathBuf;

use clap::Args;
use dask_operator_core::digest::Digest;

use super::{CommandResult, Streams, size};
use crate::error::AuthorError;
use crate::registry::RegistryArgs;

/// Pulls a component from a registry.
#[derive(Args, Clone, Debug)]
pub struct PullArgs {
    /// The image, for example registry.example.com/team/worker-limit:1.0.0.
    #[arg(value_name = "IMAGE")]
    pub reference: String,

    /// The file to write. [default: the image's name with .wasm]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

pub(super) fn run(args: &PullArgs, streams: &mut Streams<'_>) -> CommandResult {
    let pulled = args.registry.pull(&args.reference, streams.stdin)?;
    let path = args.output.clone().unwrap_or_else(|| file(&args.reference));
    std::fs::write(&path, &pulled.bytes).map_err(AuthorError::io(&path))?;
    writeln!(streams.out, "{}", path.display())?;
    writeln!(streams.out, "  size    {}", size(pulled.bytes.len()))?;
    writeln!(streams.out, "  digest  {}", Digest::of(&pulled.bytes))?;
    writeln!(streams.out, "  image   {}", pulled.image_digest)?;
    Ok(true)
}

/// Returns the default file name for a pulled component: `worker-limit.wasm`.
fn file(reference: &str) -> PathBuf {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    let name = last.split([':', '@']).next().unwrap_or(last);
    PathBuf::from(format!("{name}.wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_file_after_the_image() {
        for reference in [
            "localhost:5000/team/limit:1",
            "ghcr.io/limit@sha256:00",
            "ghcr.io/a/limit",
        ] {
            assert_eq!(file(reference), PathBuf::from("limit.wasm"), "{reference}");
        }
    }
}
