//! Writes the CRDs into a folder, for those who change them and don't want to build the operator.
//!
//! `cargo run --package dask-operator-api -- crds`

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("Say where to write the CRDs: crdgen FOLDER");
        return ExitCode::FAILURE;
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The CRDs can't be written to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder)?;
    for file in dask_operator_api::crd_files()? {
        std::fs::write(folder.join(&file.name), file.text)?;
    }
    Ok(())
}
