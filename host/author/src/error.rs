//! Why a command for authors can't be carried out, in sentences.

use std::path::PathBuf;

use dask_operator_plugin_build as plugin_build;
use dask_operator_render::plugins::PluginError;
use dask_operator_runtime::{CallError, LoadError};
use dask_operator_sources::SourceError;
use thiserror::Error;

use crate::scaffold::ScaffoldError;

/// Why a command can't be carried out.
#[derive(Debug, Error)]
pub enum AuthorError {
    /// There is no new crate.
    #[error(transparent)]
    Scaffold(#[from] ScaffoldError),
    /// There is no component.
    #[error(transparent)]
    Build(#[from] plugin_build::Error),
    /// The component is unfit.
    #[error(transparent)]
    Load(#[from] Box<LoadError>),
    /// The component did not answer.
    #[error(transparent)]
    Call(#[from] Box<CallError>),
    /// The operator's own components can't be used.
    #[error("the default components: {0}")]
    Default(PluginError),
    /// Settings that the component refuses.
    #[error("the component refuses its settings: {0}")]
    Settings(String),
    /// A registry, or what it has.
    #[error("{}", registry(.0))]
    Registry(#[from] SourceError),
    /// A file can't be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: std::io::Error,
    },
    /// Something in a file is wrong, and where.
    #[error("{}: {message}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What.
        message: String,
    },
    /// The output can't be written.
    #[error("the output can't be written: {0}")]
    Output(#[from] std::io::Error),
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
}

impl AuthorError {
    /// A file can't be read or written.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }

    /// Something in a file is wrong.
    pub(crate) fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// The operator's own sentences name its arguments; these name ours.
fn registry(error: &SourceError) -> String {
    match error {
        SourceError::Unauthorised {
            registry,
            anonymous: true,
        } => format!(
            "{registry} wants to know who asks: log in with `docker login {registry}`, or give --username and --password-stdin"
        ),
        SourceError::Tls { registry, problem } => format!(
            "the certificate of {registry} is not trusted ({problem}): if its authority is your own, give that one's \
             certificate with --ca-file"
        ),
        SourceError::AuthHost { registry, host } => format!(
            "{registry} sends for a token to {host}, where nobody has said that your password may go: if that host belongs to \
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
