//! The name of an image.

use std::fmt;
use std::str::FromStr;

use oci_client::Reference;

use crate::SourceError;

/// The name of an image: registry, repository, and a tag or digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(Reference);

impl Image {
    /// The registry, perhaps with a port.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// Registry and repository: `ghcr.io/acme/policy`.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.0.registry(), self.0.repository())
    }

    /// The digest of the manifest, if it is named by it: what it holds never changes.
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
