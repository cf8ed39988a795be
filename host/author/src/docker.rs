//! Credentials that `docker login` stored: in Docker's configuration, or in a credential helper that it names. Reads files
//! and runs credential helpers.

use std::path::{Path, PathBuf};

use dask_operator_core::text;
use dask_operator_sources::oci::Image;
use dask_operator_sources::{Credentials, SourceError};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use serde_json::{Value, json};
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
    /// The credential helper does not exist, can't be started, or ends before it has read its input.
    #[error(
        "{helper}, which {} names for {registry}, can't be run, or ends at once: install it, or give --username and \
         --password-stdin",
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

/// Returns the credentials for an image according to `config`, the content of Docker's configuration at `path`. A helper for
/// the registry comes first, then the entries of the file, of which the most specific one applies, and then the helper for all
/// registries.
fn credentials(path: &Path, config: &str, image: &Image) -> Result<Credentials, DockerError> {
    let registry = image.registry();
    let server = if registry == "docker.io" {
        DOCKER_HUB
    } else {
        registry
    };
    let stored = Credentials::from_docker_config(config, image);
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let ask = |name: &str| {
        let helper = Helper { name, path, registry };
        helper.credentials(server)
    };
    // An empty name means that the file has the registry's credentials.
    let of_registry = config["credHelpers"][server].as_str();
    if let Some(name) = of_registry.filter(|name| !name.is_empty())
        && let Some(found) = ask(name)?
    {
        return Ok(found);
    }
    let stored = stored?;
    let has_password =
        |found: &Credentials| matches!(found, Credentials::Basic { password, .. } if !password.is_empty());
    let has_token = config["auths"][server]["identitytoken"]
        .as_str()
        .is_some_and(|token| !token.is_empty());
    if has_token && !stored.as_ref().is_some_and(has_password) {
        let registry = registry.to_owned();
        return Err(DockerError::IdentityToken { registry });
    }
    if let Some(stored) = stored {
        return Ok(stored);
    }
    match config["credsStore"].as_str().filter(|name| !name.is_empty()) {
        Some(name) if of_registry.is_none() => Ok(ask(name)?.unwrap_or_default()),
        _ => Ok(Credentials::Anonymous),
    }
}

/// A credential helper that Docker's configuration names for a registry.
struct Helper<'a> {
    name: &'a str,
    /// Docker's configuration file.
    path: &'a Path,
    registry: &'a str,
}

impl Helper<'_> {
    /// Runs the helper, and returns its credentials for `server`; `None` if it has none.
    fn credentials(&self, server: &str) -> Result<Option<Credentials>, DockerError> {
        // Only the helper: the entries of the file have their own rules.
        let config = json!({"credsStore": self.name}).to_string();
        match get_credential_from_reader(config.as_bytes(), server) {
            Ok(DockerCredential::UsernamePassword(username, password)) => {
                Ok(Some(Credentials::Basic { username, password }))
            }
            Ok(DockerCredential::IdentityToken(_)) => Err(DockerError::IdentityToken {
                registry: self.registry.to_owned(),
            }),
            Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
                if stdout.contains(NOT_FOUND) || stderr.contains(NOT_FOUND) =>
            {
                Ok(None)
            }
            Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. }) => {
                // Helpers report their errors on standard output.
                let problem = [stdout.trim(), stderr.trim(), "without a message"];
                let problem = problem.into_iter().find(|problem| !problem.is_empty());
                Err(self.failed(problem.unwrap_or_default()))
            }
            Err(CredentialRetrievalError::HelperCommunicationError) => Err(DockerError::NoHelper {
                helper: self.program(),
                config: self.path.to_owned(),
                registry: self.registry.to_owned(),
            }),
            Err(_) => Err(self.failed("it returned no valid credentials")),
        }
    }

    fn failed(&self, problem: &str) -> DockerError {
        DockerError::Helper {
            helper: self.program(),
            config: self.path.to_owned(),
            registry: self.registry.to_owned(),
            problem: text::line(problem, MAX_PROBLEM),
        }
    }

    fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }
}
