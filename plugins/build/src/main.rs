//! `dask-operator-plugin-build <target folder> <plugin crate>…`: builds plugins and says what they are.

use std::process::ExitCode;

use dask_operator_plugin_build::{Build, Component, Error};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(target_dir), plugins) = (arguments.next(), arguments.collect::<Vec<_>>()) else {
        eprintln!("usage: dask-operator-plugin-build TARGET_FOLDER PLUGIN_CRATE_FOLDER...");
        return ExitCode::from(2);
    };
    let build = plugins.into_iter().fold(Build::new(target_dir), Build::plugin);
    match build.run() {
        Ok(components) => {
            components.iter().for_each(print);
            ExitCode::SUCCESS
        }
        Err(error @ Error::Nothing) => {
            eprintln!(
                "error: {error}; usage: dask-operator-plugin-build TARGET_FOLDER PLUGIN_CRATE_FOLDER..."
            );
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "this is what a person asked for")]
fn print(component: &Component) {
    let kilobytes = component.bytes.len().div_ceil(1000);
    println!(
        "{} ({kilobytes} kB) exports {}",
        component.path.display(),
        component.exports.join(", ")
    );
}
