//! Components in files and registries.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use dask_operator_sources::oci::{self, About, Image, Options, Pulled, Roots};
use dask_operator_sources::{Credentials, SIZE_LIMIT};

use crate::error::AuthorError;

/// How a registry is reached, and who asks. Without a name, docker's own configuration says who.
#[derive(Args, Clone, Debug, Default)]
pub struct RegistryArgs {
    /// The name at the registry. [default: what `docker login` stored]
    #[arg(
        long,
        value_name = "NAME",
        requires = "password_stdin",
        help_heading = "Registry"
    )]
    pub username: Option<String>,

    /// Read the password from standard input.
    #[arg(long, requires = "username", help_heading = "Registry")]
    pub password_stdin: bool,

    /// Use HTTP: for a registry on this machine.
    #[arg(long, help_heading = "Registry")]
    pub insecure: bool,

    /// Certificates in PEM form of authorities to trust beside the system's.
    #[arg(long, value_name = "FILE", help_heading = "Registry")]
    pub ca_file: Option<PathBuf>,

    /// A host that name and password may be sent to for a token, over https, when the registry says so. The registry's own
    /// is always allowed. Can be repeated.
    #[arg(long = "auth-host", value_name = "HOST", help_heading = "Registry")]
    pub auth_hosts: Vec<String>,
}

impl RegistryArgs {
    fn options(&self) -> Result<Options, AuthorError> {
        let roots = self.ca_file.as_deref().map(Roots::from_file).transpose()?;
        Ok(Options {
            insecure: self.insecure,
            roots: roots.unwrap_or_default(),
            auth_hosts: self.auth_hosts.clone(),
            ..Options::default()
        })
    }

    fn credentials(&self, image: &Image, stdin: &mut dyn Read) -> Result<Credentials, AuthorError> {
        if let Some(username) = &self.username {
            let mut password = String::new();
            stdin
                .read_to_string(&mut password)
                .map_err(AuthorError::io("-"))?;
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            return Ok(Credentials::Basic {
                username: username.clone(),
                password,
            });
        }
        let Some(path) = docker_config() else {
            return Ok(Credentials::Anonymous);
        };
        match std::fs::read_to_string(&path) {
            Ok(config) => Ok(Credentials::from_docker_config(&config, image)?.unwrap_or_default()),
            Err(_) => Ok(Credentials::Anonymous),
        }
    }

    /// Pulls a component.
    ///
    /// # Errors
    ///
    /// When the registry does not give it.
    pub fn pull(&self, reference: &str, stdin: &mut dyn Read) -> Result<Pulled, AuthorError> {
        let image: Image = reference.parse()?;
        let (credentials, options) = (self.credentials(&image, stdin)?, self.options()?);
        Ok(wait(oci::pull(&image, &credentials, &options))??)
    }

    /// Pushes a component. Gives the image's digest.
    ///
    /// # Errors
    ///
    /// When the registry does not take it.
    pub fn push(
        &self,
        reference: &str,
        component: Vec<u8>,
        about: &About,
        stdin: &mut dyn Read,
    ) -> Result<String, AuthorError> {
        let image: Image = reference.parse()?;
        let (credentials, options) = (self.credentials(&image, stdin)?, self.options()?);
        Ok(wait(oci::push(
            &image,
            component,
            about,
            &credentials,
            &options,
        ))??)
    }

    /// The bytes that a file's name or an image's reference stands for.
    ///
    /// # Errors
    ///
    /// When they can't be had.
    pub fn bytes(&self, source: &str, stdin: &mut dyn Read) -> Result<Vec<u8>, AuthorError> {
        let path = Path::new(source);
        if path.exists() || !is_reference(source) {
            return read(path);
        }
        Ok(self.pull(source, stdin)?.bytes)
    }
}

/// The bytes of a component's file.
///
/// # Errors
///
/// When it can't be read, or is larger than a component may be.
pub fn read(path: &Path) -> Result<Vec<u8>, AuthorError> {
    let bytes = std::fs::read(path).map_err(AuthorError::io(path))?;
    if bytes.len() > SIZE_LIMIT {
        let message = format!("it is larger than the {SIZE_LIMIT} bytes that a component may have");
        return Err(AuthorError::file(path, message));
    }
    Ok(bytes)
}

/// Whether something that is no file looks like an image: `registry/name:tag`.
fn is_reference(source: &str) -> bool {
    let path = Path::new(source);
    let ends_like_a_file = path.extension().is_some_and(|end| end == "wasm");
    source.contains('/') && !source.starts_with(['/', '.']) && !ends_like_a_file
}

/// Where docker keeps credentials.
fn docker_config() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")));
    Some(folder?.join("config.json"))
}

/// Waits for a registry.
fn wait<T>(work: impl Future<Output = T>) -> Result<T, AuthorError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(AuthorError::io("network"))?.block_on(work))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("registry.example.com/team/policy:1", true)]
    #[case("localhost:5000/policy:1", true)]
    #[case("policy.wasm", false)]
    #[case("./target/policy", false)]
    #[case("/tmp/policy", false)]
    #[case("target/plugin/policy.wasm", false)]
    fn files_and_images(#[case] source: &str, #[case] expected: bool) {
        assert_eq!(is_reference(source), expected);
    }

    #[test]
    fn a_password_comes_from_standard_input() {
        let args = RegistryArgs {
            username: Some("me".into()),
            password_stdin: true,
            ..RegistryArgs::default()
        };
        let image = "localhost:5000/policy:1".parse().expect("an image");
        let credentials = args
            .credentials(&image, &mut "secret\n".as_bytes())
            .expect("credentials");
        assert_eq!(
            credentials,
            Credentials::Basic {
                username: "me".into(),
                password: "secret".into()
            }
        );
    }
}
