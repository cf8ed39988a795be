//! Errors of the commands for plugin authors.

use std::path::PathBuf;

use dask_operator_components::load::PluginLoadError;
use dask_operator_evaluator::logic::PluginFailure;
use dask_operator_plugin_build as plugin_build;
use dask_operator_runtime::{CallError, LoadError};
use dask_operator_sources::SourceError;
use thiserror::Error;

use crate::docker::DockerError;
use crate::scaffold::ScaffoldError;

/// An error from a command for plugin authors.
#[derive(Debug, Error)]
pub enum AuthorError {
    /// The plugin crate was not created.
    #[error(transparent)]
    Scaffold(#[from] ScaffoldError),
    /// The component was not built.
    #[error(transparent)]
    Build(#[from] plugin_build::BuildError),
    /// The component cannot be loaded.
    #[error(transparent)]
    Load(#[from] Box<LoadError>),
    /// A call of the component failed.
    #[error(transparent)]
    Call(#[from] Box<CallError>),
    /// The component does not declare the kinds of its children, because the call failed.
    #[error("the kinds of its children: {0}")]
    ChildKinds(PluginFailure),
    /// The default components cannot be loaded.
    #[error("the default components: {0}")]
    Default(PluginLoadError),
    /// The component refuses its settings.
    #[error("the component refuses its settings: {0}")]
    Settings(String),
    /// A request to a registry failed, or the image is not valid.
    #[error("{}", registry(.0))]
    Registry(#[from] SourceError),
    /// The credentials that `docker login` stored cannot be used.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error from the operating system.
        #[source]
        error: std::io::Error,
    },
    /// The content of a file is not valid.
    #[error("{}: {message}", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The problem.
        message: String,
    },
    /// The output cannot be written.
    #[error("the output can't be written: {0}")]
    Output(#[from] std::io::Error),
    /// The arguments, or the input that they name, are not valid.
    #[error("{0}")]
    Usage(String),
}

impl AuthorError {
    /// Returns a function that converts an I/O error of the file at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }

    /// Returns an error about the content of the file at `path`.
    pub(crate) fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// Returns the first line of a parser's error message.
pub(crate) fn first_line(message: &str) -> String {
    message
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned()
}

/// Message of a registry error. Where [`SourceError`] names an option of the operator, this names the option of the command.
fn registry(error: &SourceError) -> String {
    match error {
        SourceError::Unauthorised {
            registry,
            anonymous: true,
        } => format!(
            "{registry} requires authentication: log in with `docker login {registry}`, or give --username and --password-stdin"
        ),
        SourceError::Tls { registry, problem } => format!(
            "the certificate of {registry} is not trusted ({problem}): if its authority is your own, give that one's \
             certificate with --ca-file"
        ),
        SourceError::AuthHost { registry, host } => format!(
            "{registry} refers to {host} for a token, which is not allowed to receive your password: if that host belongs to \
             the registry and is reached over https, give its name with --auth-host"
        ),
        SourceError::Unreachable { registry, problem }
            if problem.contains("InvalidContentType") || problem.contains("corrupt message") =>
        {
            format!("{registry} does not speak TLS: if that is as it should be, give --insecure")
        }
        error => error.to_string(),
    }
}
