//! `dask-operator plugin …`.

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

use crate::error::AuthorError;

/// Tools for authors of plugins.
#[derive(Clone, Debug, Subcommand)]
pub enum PluginCommand {
    /// Writes a plugin crate to begin with.
    New(new::NewArgs),
    /// Builds a plugin crate into a component.
    Build(build::BuildArgs),
    /// Says what a component is.
    Inspect(inspect::InspectArgs),
    /// Says what becomes of manifests and observations with a plugin in its place.
    Run(run::RunArgs),
    /// Runs test files.
    Test(test::TestArgs),
    /// Puts a component into a registry.
    Push(push::PushArgs),
    /// Gets a component from a registry.
    Pull(pull::PullArgs),
}

/// Where a command reads and writes.
pub struct Streams<'a> {
    /// Standard input.
    pub stdin: &'a mut dyn Read,
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// What else there is to say.
    pub err: &'a mut dyn Write,
}

/// Runs a command. Gives whether all is right; if not, why has been said.
///
/// # Errors
///
/// When the output can't be written.
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
        Ok(all_right) => Ok(all_right),
        Err(AuthorError::Output(error)) => Err(error),
        Err(error) => {
            writeln!(streams.err, "error: {error}")?;
            Ok(false)
        }
    }
}

type Done = Result<bool, AuthorError>;

/// Reads a file of YAML (or JSON) as a value.
fn yaml(path: &Path) -> Result<Value, AuthorError> {
    let text = std::fs::read_to_string(path).map_err(AuthorError::io(path))?;
    serde_saphyr::from_str(&text).map_err(|error| AuthorError::file(path, first_line(&error.to_string())))
}

/// Reads a file with settings.
fn settings(path: Option<&Path>) -> Result<Map<String, Value>, AuthorError> {
    match path
        .map(|path| Ok::<_, AuthorError>((path, yaml(path)?)))
        .transpose()?
    {
        None | Some((_, Value::Null)) => Ok(Map::new()),
        Some((_, Value::Object(settings))) => Ok(settings),
        Some((path, _)) => Err(AuthorError::file(
            path,
            "settings are an object, as `maximum: 100`",
        )),
    }
}

/// An error of a parser in one line.
pub(crate) fn first_line(message: &str) -> String {
    message
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned()
}

/// The time, in milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A size for people.
fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{} MB", bytes.div_ceil(1_000_000)),
    }
}
