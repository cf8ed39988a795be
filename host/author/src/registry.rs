//! Access to components in files and registries. Does I/O.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use dask_operator_sources::oci::{self, Image, ImageMetadata, Pulled, RegistryOptions, Roots};
use dask_operator_sources::{Credentials, SIZE_LIMIT};

use crate::docker::stored_credentials;
use crate::error::AuthorError;

/// Connection to a registry, and credentials. Without a username, the credentials are those that `docker login` stored.
#[derive(Args, Clone, Debug, Default)]
pub struct RegistryArgs {
    /// Username at the registry. [default: the credentials that `docker login` stored]
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

    /// Use plain HTTP, for a registry on this machine.
    #[arg(long, help_heading = "Registry")]
    pub insecure: bool,

    /// PEM file with certificates of authorities to trust in addition to the system's.
    #[arg(long, value_name = "FILE", help_heading = "Registry")]
    pub ca_file: Option<PathBuf>,

    /// A host that may receive the username and password over HTTPS if the registry refers to it for a token. The
    /// registry's own host is always allowed. Can be repeated.
    #[arg(long = "auth-host", value_name = "HOST", help_heading = "Registry")]
    pub auth_hosts: Vec<String>,
}

impl RegistryArgs {
    fn options(&self) -> Result<RegistryOptions, AuthorError> {
        let roots = self.ca_file.as_deref().map(Roots::from_file).transpose()?;
        Ok(RegistryOptions {
            insecure: self.insecure,
            roots: roots.unwrap_or_default(),
            auth_hosts: self.auth_hosts.clone(),
            ..RegistryOptions::default()
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
        Ok(stored_credentials(image)?)
    }

    /// Pulls a component.
    ///
    /// # Errors
    ///
    /// Returns an error if the reference is not valid or the registry does not return the component.
    pub fn pull(&self, reference: &str, stdin: &mut dyn Read) -> Result<Pulled, AuthorError> {
        let image: Image = reference.parse()?;
        let (credentials, options) = (self.credentials(&image, stdin)?, self.options()?);
        Ok(wait(oci::pull(&image, &credentials, &options))??)
    }

    /// Pushes a component and returns the image's digest.
    ///
    /// # Errors
    ///
    /// Returns an error if the reference is not valid or the registry does not accept the component.
    pub fn push(
        &self,
        reference: &str,
        component: Vec<u8>,
        about: &ImageMetadata,
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

    /// Returns the bytes of a component. `source` is a file name or an image reference.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read or the image cannot be pulled.
    pub fn bytes(&self, source: &str, stdin: &mut dyn Read) -> Result<Vec<u8>, AuthorError> {
        let path = Path::new(source);
        if path.exists() || !is_reference(source) {
            return read(path);
        }
        Ok(self.pull(source, stdin)?.bytes)
    }
}

/// Reads a component's file.
///
/// # Errors
///
/// Returns an error if the file cannot be read, or is larger than [`SIZE_LIMIT`].
pub fn read(path: &Path) -> Result<Vec<u8>, AuthorError> {
    let bytes = std::fs::read(path).map_err(AuthorError::io(path))?;
    if bytes.len() > SIZE_LIMIT {
        let message = format!("it is larger than the {SIZE_LIMIT} bytes that a component may have");
        return Err(AuthorError::file(path, message));
    }
    Ok(bytes)
}

/// Returns whether `source`, which is no existing file, looks like an image reference: `registry/name:tag`.
fn is_reference(source: &str) -> bool {
    let path = Path::new(source);
    let has_file_extension = path.extension().is_some_and(|extension| extension == "wasm");
    source.contains('/') && !source.starts_with(['/', '.']) && !has_file_extension
}

/// Runs a future to completion on a runtime of its own.
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
    fn distinguishes_files_from_images(#[case] source: &str, #[case] expected: bool) {
        assert_eq!(is_reference(source), expected);
    }

    #[test]
    fn reads_the_password_from_standard_input() {
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
