//! Version of a plugin that has passed all checks and can be active.

use crate::plugins::entry::Entry;
use crate::plugins::resource::Resource;

/// Version of a plugin that can be active.
#[derive(Clone)]
pub(super) struct LoadedPlugin {
    /// Entry for the catalog.
    pub(super) entry: Entry,
    /// Name that the component declares.
    pub(super) name: String,
    /// Version that the component declares.
    pub(super) version: String,
    /// Digest of the component's bytes, `sha256:…`.
    pub(super) digest: String,
    /// Digest of the image's manifest, if it is known.
    pub(super) image_digest: Option<String>,
    /// Names of the interfaces that are used.
    pub(super) interfaces: Vec<&'static str>,
    /// Resource that requested this version, as it was then.
    pub(super) requested_by: Resource,
}

impl LoadedPlugin {
    /// Returns the digest and the generation that requested it, which together identify the version.
    pub(super) fn identity(&self) -> (String, i64) {
        (self.digest.clone(), self.requested_by.generation)
    }

    /// Returns the title for messages: name, version and short digest.
    pub(super) fn title(&self) -> String {
        let digits = self.digest.trim_start_matches("sha256:");
        format!(
            "{} {} ({})",
            self.name,
            self.version,
            digits.get(..12).unwrap_or(digits)
        )
    }
}
