//! Names of images.

use std::fmt;
use std::str::FromStr;

use oci_client::Reference;

use crate::SourceError;

/// Name of an image: registry, repository, and a tag or digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(Reference);

impl Image {
    /// Returns the registry, with a port if the name has one.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// Returns the registry and the repository: `ghcr.io/acme/policy`.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.0.registry(), self.0.repository())
    }

    /// Returns the digest of the manifest, or `None` if the name has only a tag. The content of an image that is named by
    /// its digest never changes.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.0
    }
}

impl FromStr for Image {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        Reference::try_from(text.trim())
            .map(Self)
            .map_err(|error| SourceError::Reference {
                image: text.to_owned(),
                problem: error.to_string(),
            })
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.whole())
    }
}
