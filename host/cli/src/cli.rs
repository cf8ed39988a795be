//! Command line: the subcommands and their dispatch.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use dask_operator_author::PluginCommand;
use dask_operator_author::commands::Streams;
use dask_operator_host::args::RunArgs;
use dask_operator_host::run;
use dask_operator_render::{RenderArgs, command};

use crate::compile::{CompileArgs, compile};
use crate::crds::{CrdArgs, crds};
use crate::reference;

/// Dask on Kubernetes: turns DaskCluster, DaskWorkerGroup, DaskJob and DaskAutoscaler resources into running Dask
/// clusters. Replaceable WebAssembly components decide what each cluster consists of.
#[derive(Debug, Parser)]
#[command(name = "dask-operator", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A generated page of the documentation.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    CommandLine,
    Metrics,
}

const EXAMPLES: &str = "\
Examples:
  dask-operator crds | kubectl apply --server-side -f -
                                      define the Dask resources in a cluster
  dask-operator run                   run the operator on the cluster of the kubeconfig
  dask-operator render -f cluster.yaml
                                      print what the operator would create, without a cluster
  dask-operator plugin new worker-limit
                                      start a new plugin

`dask-operator help COMMAND` describes each command.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<RunArgs>),
    Render(Box<RenderArgs>),
    Crds(CrdArgs),
    /// Tools for plugin authors: create a crate, build, test, and use registries.
    #[command(subcommand)]
    Plugin(PluginCommand),
    #[command(hide = true)]
    Compile(CompileArgs),
    /// Prints a generated page of the documentation.
    #[command(hide = true)]
    Reference {
        /// The page
        page: Page,
    },
    /// Prints the version.
    Version,
}

/// Runs the command that the command line names.
///
/// # Errors
///
/// Returns an error that describes why the command failed.
pub(crate) fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(args) => run::run(*args).map(|()| ExitCode::SUCCESS),
        Command::Render(args) => {
            let all_right = command::run(&args, &mut io::stdin(), &mut io::stdout(), &mut io::stderr());
            Ok(if all_right.context("the children can't be printed")? {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Plugin(command) => {
            let (stdin, out, err) = (&mut io::stdin(), &mut io::stdout(), &mut io::stderr());
            let all_right = dask_operator_author::commands::run(&command, &mut Streams { stdin, out, err })?;
            Ok(if all_right {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Crds(args) => crds(&args).map(|()| ExitCode::SUCCESS),
        Command::Compile(args) => compile(args),
        Command::Reference { page } => {
            let text = match page {
                Page::CommandLine => reference::page(Cli::command()),
                Page::Metrics => run::metrics_page(),
            };
            io::stdout().write_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Version => {
            writeln!(io::stdout(), "dask-operator {}", env!("CARGO_PKG_VERSION"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_command_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            text == reference::page(Cli::command()),
            "docs/reference/cli.md differs from the arguments; run `make generate`"
        );
    }
}
