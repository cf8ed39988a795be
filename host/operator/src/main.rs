//! `dask-operator`: see `dask-operator --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match dask_operator::cli::main() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
