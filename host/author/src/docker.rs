//! Credentials that `docker login` stored: in Docker's configuration, or in a credential helper that it names. Reads files
//! and runs credential helpers.

use std::path::{Path, PathBuf};

use dask_operator_core::text;
use dask_operator_sources::oci::Image;
use dask_operator_sources::{Credentials, SourceError};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use serde_json::Value;
use thiserror::Error;

/// Docker Hub's name in Docker's configuration and in requests to credential helpers.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Answer of all credential helpers that have no credentials for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Maximum length of a credential helper's error in a message, in bytes.
const MAX_PROBLEM: usize = 300;

/// The credentials that `docker login` stored can't be used.
#[derive(Debug, Error)]
pub enum DockerError {
    /// The credential helper does not exist or can't be started.
    #[error(
        "{helper}, which {} names for {registry}, can't be run: install it, or give --username and --password-stdin",
        config.display()
    )]
    NoHelper {
        /// The helper's program.
        helper: String,
        /// Docker's configuration file.
        config: PathBuf,
        /// The image's registry.
        registry: String,
    },
    /// The credential helper reported an error, or returned no valid credentials.
    #[error(
        "{helper}, which {} names for {registry}, failed ({problem}): correct this, log in again with `docker login \
         {registry}`, or give --username and --password-stdin",
        config.display()
    )]
    Helper {
        /// The helper's program.
        helper: String,
        /// Docker's configuration file.
        config: PathBuf,
        /// The image's registry.
        registry: String,
        /// The helper's error.
        problem: String,
    },
    /// The stored credentials are an identity token, for which a registry's token server has a protocol of its own.
    #[error(
        "`docker login` stored an identity token for {registry}, which this command can't use: give a username and a \
         password or access token with --username and --password-stdin"
    )]
    IdentityToken {
        /// The image's registry.
        registry: String,
    },
    /// Docker's configuration is not valid.
    #[error(transparent)]
    Config(#[from] SourceError),
}

/// Returns the credentials for an image that `docker login` stored; [`Credentials::Anonymous`] if there are none.
///
/// # Errors
///
/// Returns an error if Docker's configuration is not valid, a credential helper fails, or the credentials are an identity token.
pub fn stored_credentials(image: &Image) -> Result<Credentials, DockerError> {
    let Some(path) = config_path() else {
        return Ok(Credentials::Anonymous);
    };
    match std::fs::read_to_string(&path) {
        Ok(config) => credentials(&path, &config, image),
        Err(_) => Ok(Credentials::Anonymous),
    }
}

/// Returns the path of Docker's configuration file; `None` if neither `DOCKER_CONFIG` nor `HOME` is set.
fn config_path() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")));
    Some(folder?.join("config.json"))
}

/// Returns the credentials for an image according to `config`, the content of Docker's configuration at `path`.
fn credentials(path: &Path, config: &str, image: &Image) -> Result<Credentials, DockerError> {
    let registry = image.registry().to_owned();
    let server = match image.registry() {
        "docker.io" => DOCKER_HUB,
        registry => registry,
    };
    let failed = |problem: &str| DockerError::Helper {
        helper: helper(config, server),
        config: path.to_owned(),
        registry: registry.clone(),
        problem: text::line(problem, MAX_PROBLEM),
    };
    match get_credential_from_reader(config.as_bytes(), server) {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            Ok(Credentials::Basic { username, password })
        }
        Ok(DockerCredential::IdentityToken(_)) => Err(DockerError::IdentityToken { registry }),
        Err(CredentialRetrievalError::HelperCommunicationError) => Err(DockerError::NoHelper {
            helper: helper(config, server),
            config: path.to_owned(),
            registry,
        }),
        Err(CredentialRetrievalError::MalformedHelperResponse) => {
            Err(failed("it returned no valid credentials"))
        }
        Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
            if !stdout.contains(NOT_FOUND) && !stderr.contains(NOT_FOUND) =>
        {
            // Helpers report their errors on standard output.
            let problem = [stdout.trim(), stderr.trim(), "without a message"];
            let problem = problem.into_iter().find(|problem| !problem.is_empty());
            Err(failed(problem.unwrap_or_default()))
        }
        // The file may have credentials for a part of the registry, or be invalid.
        Err(_) => Ok(Credentials::from_docker_config(config, image)?.unwrap_or_default()),
    }
}

/// Returns the program of the credential helper that Docker's configuration names for a registry.
fn helper(config: &str, server: &str) -> String {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let of_registry = config["credHelpers"][server].as_str();
    let name = of_registry.filter(|name| !name.is_empty());
    let name = name.or_else(|| config["credsStore"].as_str()).unwrap_or_default();
    format!("docker-credential-{name}")
}
