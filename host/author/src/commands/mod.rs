//! Subcommands of `dask-operator plugin`.

mod build;
mod inspect;
mod new;
mod pull;
mod push;
mod run;
mod test;

use std::io::{Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use serde_json::{Map, Value};

use crate::error::{AuthorError, first_line};

/// Tools for plugin authors.
#[derive(Clone, Debug, Subcommand)]
pub enum PluginCommand {
    /// Creates a plugin crate.
    New(new::NewArgs),
    /// Builds a plugin crate into a component.
    Build(build::BuildArgs),
    /// Describes a component.
    Inspect(inspect::InspectArgs),
    /// Shows the effect of a plugin on manifests and observations.
    Run(run::PluginRunArgs),
    /// Runs test files.
    Test(test::TestArgs),
    /// Pushes a component to a registry.
    Push(push::PushArgs),
    /// Pulls a component from a registry.
    Pull(pull::PullArgs),
}

/// Standard streams of a command.
pub struct Streams<'a> {
    /// Standard input.
    pub stdin: &'a mut dyn Read,
    /// Standard output: the result of the command.
    pub out: &'a mut dyn Write,
    /// Standard error: notes and errors.
    pub err: &'a mut dyn Write,
}

/// Runs a command. Returns true if it succeeded; if not, the reason was written to one of the streams.
///
/// # Errors
///
/// Returns an error if the output cannot be written.
pub fn run(command: &PluginCommand, streams: &mut Streams<'_>) -> std::io::Result<bool> {
    let done = match command {
        PluginCommand::New(args) => new::run(args, streams),
        PluginCommand::Build(args) => build::run(args, streams),
        PluginCommand::Inspect(args) => inspect::run(args, streams),
        PluginCommand::Run(args) => run::run(args, streams),
        PluginCommand::Test(args) => test::run(args, streams),
        PluginCommand::Push(args) => push::run(args, streams),
        PluginCommand::Pull(args) => pull::run(args, streams),
    };
    match done {
        Ok(succeeded) => Ok(succeeded),
        Err(AuthorError::Output(error)) => Err(error),
        Err(error) => {
            writeln!(streams.err, "error: {error}")?;
            Ok(false)
        }
    }
}

/// Result of a subcommand: whether it succeeded, or the reason why it could not be run.
type CommandResult = Result<bool, AuthorError>;

/// Reads a YAML or JSON file.
fn yaml(path: &Path) -> Result<Value, AuthorError> {
    let text = std::fs::read_to_string(path).map_err(AuthorError::io(path))?;
    serde_saphyr::from_str(&text).map_err(|error| AuthorError::file(path, first_line(&error.to_string())))
}

/// Reads a settings file. Without a path, or if the file is empty, there are no settings.
fn settings(path: Option<&Path>) -> Result<Map<String, Value>, AuthorError> {
    match path
        .map(|path| Ok::<_, AuthorError>((path, yaml(path)?)))
        .transpose()?
    {
        None | Some((_, Value::Null)) => Ok(Map::new()),
        Some((_, Value::Object(settings))) => Ok(settings),
        Some((path, _)) => Err(AuthorError::file(
            path,
            "settings are an object, for example `maximum: 100`",
        )),
    }
}

/// Returns the current time in milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Formats a number of bytes for display.
fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{} MB", bytes.div_ceil(1_000_000)),
    }
}
