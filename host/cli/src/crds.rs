//! `dask-operator crds`: prints the definitions of the Dask resources.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

/// Prints the definitions of the Dask resources (CRDs).
#[derive(Args, Debug)]
pub(crate) struct CrdArgs {
    /// Write a file for each definition into this folder, instead of printing them.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Prints the definitions, or writes them into a folder.
///
/// # Errors
///
/// Returns an error if they can't be written.
pub(crate) fn crds(args: &CrdArgs) -> anyhow::Result<()> {
    let files = dask_operator_api::crd_files()?;
    let Some(folder) = &args.output else {
        let texts: Vec<_> = files.iter().map(|file| file.text.as_str()).collect();
        io::stdout().write_all(texts.join("---\n").as_bytes())?;
        return Ok(());
    };
    for file in &files {
        let path = folder.join(&file.name);
        std::fs::write(&path, &file.text).with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(())
}
