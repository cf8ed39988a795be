//! `dask-operator-plugin-build [--out FOLDER] PLUGIN_CRATE_FOLDER...`: builds plugins and prints a line for each.

use std::ffi::OsString;
use std::process::ExitCode;

use dask_operator_plugin_build::{Build, BuiltComponent};

/// The default output folder.
const OUT: &str = "target/plugins";

const USAGE: &str = "\
usage: dask-operator-plugin-build [--out FOLDER] PLUGIN_CRATE_FOLDER...

Builds plugin crates into WebAssembly components: FOLDER/<package>.wasm, target/plugins by default. The intermediate
files of the build are stored in the same folder, which makes the next build faster.";

fn main() -> ExitCode {
    let Some(build) = build(std::env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match build.run() {
        Ok(components) => {
            components.iter().for_each(print);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Parses the arguments. Returns `None` if they are invalid.
fn build(arguments: impl Iterator<Item = OsString>) -> Option<Build> {
    let mut arguments = arguments.peekable();
    let out = match arguments.next_if(|argument| argument == "--out") {
        Some(_) => arguments.next()?,
        None => OUT.into(),
    };
    let plugins: Vec<OsString> = arguments.collect();
    let valid = !plugins.is_empty()
        && !plugins
            .iter()
            .any(|plugin| plugin.to_string_lossy().starts_with('-'));
    valid.then(|| plugins.into_iter().fold(Build::new(out), Build::plugin))
}

#[allow(clippy::print_stdout, reason = "the output of a command-line tool")]
fn print(component: &BuiltComponent) {
    let kilobytes = component.bytes.len().div_ceil(1000);
    println!(
        "{} ({kilobytes} kB) exports {}",
        component.path.display(),
        component.exports.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_invalid_arguments() {
        let accepted = |arguments: &[&str]| build(arguments.iter().map(OsString::from)).is_some();
        for good in [&["plugins/a"][..], &["--out", "x", "a", "b"]] {
            assert!(accepted(good), "{good:?}");
        }
        for bad in [
            &[][..],
            &["--out"],
            &["--out", "x"],
            &["--help"],
            &["a", "--out", "x"],
        ] {
            assert!(!accepted(bad), "{bad:?}");
        }
    }
}
